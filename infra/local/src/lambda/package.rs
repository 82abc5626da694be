//! Code: the program that a stack was given, or a zip that was uploaded.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Cursor, Read, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use zip::ZipArchive;

use super::refusal::Refusal;

/// The largest request of `UpdateFunctionCode`, which holds a zip of 50 MiB in base64.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub(crate) const UPLOAD_BYTES_MAX: usize = 70_167_211;

/// The largest package when unpacked; the same page.
const UNPACKED_BYTES_MAX: u64 = 250 * 1024 * 1024;

/// The most files in a package. A bound of this machine's; packages of the kit hold one.
const FILES_MAX: usize = 10_000;

/// What a runtime for `provided.al2023` starts.
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-provided.html>
const BOOTSTRAP: &str = "bootstrap";

/// The bits of a file's mode that say what kind it is, and those of a link.
const KIND_BITS: u32 = 0o170_000;
const LINK: u32 = 0o120_000;

/// The code of a version.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) program: PathBuf,
    /// SHA-256 in base64, as Lambda shows it: of the zip, or, for a program in its place, of its path, length and time, since reading
    /// it would delay every start.
    pub(crate) sha256: String,
    /// Of the zip or the program.
    pub(crate) bytes: u64,
    /// Where the zip was unpacked; removed with the last version and process that use it.
    unpacked: Option<Arc<TempDir>>,
}

impl Code {
    /// A program that stays where it is. It may be missing: then it does not start.
    pub(crate) fn in_place(program: PathBuf) -> Self {
        let metadata = fs::metadata(&program).ok();
        let bytes = metadata.as_ref().map_or(0, fs::Metadata::len);
        let modified = metadata.and_then(|metadata| metadata.modified().ok());
        let sha256 = digest(format!("{} {bytes} {modified:?}", program.display()).as_bytes());
        Self { program, sha256, bytes, unpacked: None }
    }

    /// The program in its place as it is now, if it is another than this was made of and is whole.
    pub(super) fn rebuilt(&self) -> Option<Code> {
        let now = self.unpacked.is_none().then(|| Code::in_place(self.program.clone()))?;
        (now.bytes > 0 && now.sha256 != self.sha256).then_some(now)
    }

    /// Where it runs: a package in its folder, a program in its place where the stack does.
    pub(crate) fn folder(&self) -> &Path {
        self.unpacked.as_ref().map_or(Path::new("."), |folder| folder.path())
    }

    /// Unpacks a zip into a directory of its own. Nothing is written outside of it, and no more than Lambda allows.
    pub(crate) fn unpack(zip: &[u8]) -> Result<Self, Refusal> {
        let mut archive = ZipArchive::new(Cursor::new(zip)).map_err(|_| not_a_zip())?;
        if archive.len() > FILES_MAX {
            return Err(Refusal::invalid(format!("a package may hold {FILES_MAX} files on this machine")));
        }
        let directory = TempDir::with_prefix("windlass-code-").map_err(cannot_keep)?;
        let mut left = UNPACKED_BYTES_MAX;
        for index in 0..archive.len() {
            let mut file = archive.by_index(index).map_err(|_| not_a_zip())?;
            let path = file.enclosed_name().ok_or_else(not_a_zip)?;
            if file.unix_mode().is_some_and(|mode| mode & KIND_BITS == LINK) {
                return Err(Refusal::invalid("a package may hold no links on this machine"));
            }
            let path = directory.path().join(path);
            if file.is_dir() {
                fs::create_dir_all(&path).map_err(cannot_keep)?;
                continue;
            }
            let executable = file.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
            left -= write(&mut file, &path, executable, left)?;
        }
        let program = directory.path().join(BOOTSTRAP);
        let bytes = u64::try_from(zip.len()).unwrap_or(u64::MAX);
        Ok(Self { program, sha256: digest(zip), bytes, unpacked: Some(Arc::new(directory)) })
    }
}

/// Writes a file of at most `bytes_max` and returns how many there were, whatever the archive says.
fn write(file: &mut impl Read, path: &Path, executable: bool, bytes_max: u64) -> Result<u64, Refusal> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(cannot_keep)?;
    }
    let mut options = OpenOptions::new();
    let mut target: File =
        options.write(true).create_new(true).mode(0o600).open(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => not_a_zip(),
            _ => cannot_keep(error),
        })?;
    let mut read = 0;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let bytes = file.read(&mut chunk).map_err(|_| not_a_zip())?;
        if bytes == 0 {
            break;
        }
        read += u64::try_from(bytes).unwrap_or(u64::MAX);
        if read > bytes_max {
            return Err(Refusal::invalid(format!("Unzipped size must be smaller than {UNPACKED_BYTES_MAX} bytes")));
        }
        target.write_all(&chunk[..bytes]).map_err(cannot_keep)?;
    }
    let mode = if executable { 0o500 } else { 0o400 };
    target.set_permissions(Permissions::from_mode(mode)).map_err(cannot_keep)?;
    Ok(read)
}

fn digest(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(Sha256::digest(bytes))
}

fn not_a_zip() -> Refusal {
    Refusal::invalid("Could not unzip uploaded file. Please check your file, then try to upload again.")
}

fn cannot_keep(error: io::Error) -> Refusal {
    Refusal::Service { message: format!("the package cannot be kept: {error}") }
}

#[cfg(test)]
mod tests {
    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn zip(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content, mode) in files {
            zip.start_file(*name, SimpleFileOptions::default().unix_permissions(*mode)).expect("a file");
            zip.write_all(content).expect("its content");
        }
        zip.finish().expect("a zip").into_inner()
    }

    fn refused(zip: &[u8]) -> String {
        Code::unpack(zip).expect_err("it is refused").to_string()
    }

    #[test]
    fn a_package_is_unpacked_with_its_executable_bit_and_removed_with_its_last_user() {
        let bytes = zip(&[("bootstrap", b"#!/bin/sh\n", 0o755), ("assets/a.txt", b"a", 0o644)]);
        let code = Code::unpack(&bytes).expect("a package");
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode(&code.program), 0o500);
        let folder = code.program.parent().expect("a folder").to_owned();
        assert_eq!(mode(&folder.join("assets/a.txt")), 0o400);
        assert_eq!(code.sha256, Code::unpack(&bytes).expect("the same package").sha256);
        assert_eq!(code.bytes, bytes.len() as u64);
        drop(code);
        assert!(!folder.exists());
    }

    #[test]
    fn what_is_no_package_or_leaves_its_folder_is_refused() {
        let unreadable = "Could not unzip uploaded file. Please check your file, then try to upload again.";
        assert_eq!(refused(b"not a zip"), unreadable);
        assert_eq!(refused(b""), unreadable);
        let good = zip(&[("bootstrap", &[7; 4096], 0o755)]);
        assert_eq!(refused(&good[..good.len() / 2]), unreadable);
        for name in ["../outside", "a/../../outside"] {
            assert_eq!(refused(&zip(&[(name, b"x", 0o644)])), unreadable, "{name}");
        }
        let mut linked = ZipWriter::new(Cursor::new(Vec::new()));
        linked.add_symlink("bootstrap", "/bin/sh", SimpleFileOptions::default()).expect("a link");
        assert!(refused(&linked.finish().expect("a zip").into_inner()).contains("no links"));
    }

    #[test]
    fn a_file_is_counted_as_it_is_read_whatever_it_claims() {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("big");
        let refusal = write(&mut io::repeat(0), &path, false, 1024).expect_err("it never ends");
        assert_eq!(refusal.to_string(), "Unzipped size must be smaller than 262144000 bytes");
    }
}
