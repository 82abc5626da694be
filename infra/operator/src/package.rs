//! `windlass package`: built binaries into one zip per function, the same bytes for the same input.
//!
//! SAM zips too, with the times of files in it. These zips hold one file, `bootstrap`, executable and dated 1980, the earliest date
//! that the format knows.

use std::{
    fs,
    path::{Path, PathBuf},
};

use libdeflater::{CompressionLvl, Compressor, crc32};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{cli::Package, console::Console, failure::Failure, stack::FUNCTIONS, table::Table};

/// The most bytes of a zip: start-up grows with what is loaded. The step function holds the models' and tools' clients besides, and Cedar.
const ZIP_BYTES_MAX: [(&str, usize); 4] =
    [("intake", 2_500_000), ("step", 5_500_000), ("approval", 2_500_000), ("cleanup", 2_500_000)];

/// The one file of a zip (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html>).
const FILE: &str = "bootstrap";

/// The first four bytes of an executable.
const ELF: &[u8] = b"\x7fELF";

/// A function cannot be packaged.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// It has not been built.
    #[error("there is no binary of `{function}` below `{}`", .folder.display())]
    NotBuilt {
        /// The function.
        function: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// What was built is no executable for Lambda.
    #[error("`{}` is no Linux executable of at most 2 GiB", .path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// The packages are larger than they may be.
    #[error("over budget: {functions}")]
    TooLarge {
        /// Which, by how much.
        functions: String,
    },
}

/// A package that was made.
#[derive(Debug, Serialize)]
struct Packaged {
    function: &'static str,
    path: PathBuf,
    binary_bytes: usize,
    zip_bytes: usize,
    zip_bytes_max: usize,
    sha256: String,
}

/// Carries out `windlass package`.
///
/// # Errors
/// When a function has not been built, or is over its budget.
pub fn run(wanted: &Package, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    fs::create_dir_all(&wanted.out)?;
    let mut packages = Vec::new();
    for function in FUNCTIONS {
        packages.push(package(function, &wanted.from, &wanted.out)?);
    }
    if json {
        console.json(&packages)?;
    } else {
        let mut table = Table::new(&["FUNCTION", "BINARY", "ZIP", "BUDGET", "SHA-256"]);
        for made in &packages {
            let kib = |bytes: usize| format!("{} KiB", bytes.div_ceil(1024));
            let cells =
                [kib(made.binary_bytes), kib(made.zip_bytes), kib(made.zip_bytes_max), made.sha256[..16].to_owned()];
            table.row([made.function.to_owned()].into_iter().chain(cells));
        }
        let text = table.text(console.paint());
        console.text(text)?;
    }
    let over = packages.iter().filter(|made| made.zip_bytes > made.zip_bytes_max);
    let over: Vec<String> =
        over.map(|made| format!("{} by {} bytes", made.function, made.zip_bytes - made.zip_bytes_max)).collect();
    if over.is_empty() { Ok(()) } else { Err(PackageError::TooLarge { functions: over.join(", ") }.into()) }
}

fn package(function: &'static str, from: &Path, out: &Path) -> Result<Packaged, Failure> {
    // As cargo-lambda names the folder, and as SAM does.
    let of_sam = format!("{}{}Function", function[..1].to_ascii_uppercase(), &function[1..]);
    let places = [from.join(function).join(FILE), from.join(of_sam).join(FILE)];
    let built = places.into_iter().find(|path| path.is_file());
    let built = built.ok_or_else(|| PackageError::NotBuilt { function, folder: from.to_owned() })?;
    let binary = fs::read(&built)?;
    if !binary.starts_with(ELF) || i32::try_from(binary.len()).is_err() {
        return Err(PackageError::NotExecutable { path: built }.into());
    }
    let zip = zip(FILE, &binary)?;
    let path = out.join(format!("{function}.zip"));
    fs::write(&path, &zip)?;
    let budget = ZIP_BYTES_MAX.iter().find(|(of, _)| *of == function).map_or(0, |(_, bytes)| *bytes);
    Ok(Packaged {
        function,
        path,
        binary_bytes: binary.len(),
        zip_bytes: zip.len(),
        zip_bytes_max: budget,
        sha256: Sha256::digest(&zip).iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// A zip of one executable file, of less than 4 GiB
/// (<https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, sections 4.3 and 4.4).
fn zip(name: &str, content: &[u8]) -> std::io::Result<Vec<u8>> {
    // Made once, loaded at every start: the smallest there is.
    let mut deflate = Compressor::new(CompressionLvl::best());
    let mut packed = vec![0; deflate.deflate_compress_bound(content.len())];
    let packed_bytes = deflate.deflate_compress(content, &mut packed).map_err(std::io::Error::other)?;
    packed.truncate(packed_bytes);
    let half = |value: u16| value.to_le_bytes().to_vec();
    let word = |value: usize| (value as u32).to_le_bytes().to_vec();
    // Version 2.0, no flags, deflate, midnight of 1 January 1980.
    let common = [half(20), half(0), half(8), half(0), half(0x21), crc32(content).to_le_bytes().to_vec()].concat();
    let sizes = [word(packed.len()), word(content.len()), half(name.len() as u16), half(0)].concat();
    let mut zip = [b"PK\x03\x04", common.as_slice(), &sizes, name.as_bytes(), &packed].concat();
    let directory_at = zip.len();
    // Made on Unix, so that the mode counts: a regular file that everybody may read and execute.
    let made_by = half(3 << 8 | 20);
    let mode = word(0o100_755 << 16);
    let tail = [half(0), half(0), half(0), mode, word(0)].concat();
    zip.extend([b"PK\x01\x02", made_by.as_slice(), &common, &sizes, &tail, name.as_bytes()].concat());
    let directory_bytes = zip.len() - directory_at;
    let end = [half(0), half(0), half(1), half(1), word(directory_bytes), word(directory_at), half(0)].concat();
    zip.extend([b"PK\x05\x06", end.as_slice()].concat());
    Ok(zip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Paint;

    fn built(folder: &Path, size: usize) {
        for function in FUNCTIONS {
            fs::create_dir_all(folder.join(function)).expect("a folder");
            let content: Vec<u8> = ELF.iter().copied().chain((0..size).map(|n| (n * n / 7) as u8)).collect();
            fs::write(folder.join(function).join(FILE), content).expect("a binary");
        }
    }

    #[test]
    fn the_same_binaries_make_the_same_zips_with_one_executable_file() {
        let folder = tempfile::tempdir().expect("a folder");
        built(folder.path(), 100_000);
        let make = |out: &str| {
            let wanted = Package { from: folder.path().to_owned(), out: folder.path().join(out) };
            let (mut out, mut err) = (Vec::new(), Vec::new());
            run(&wanted, true, &mut Console::new(&mut out, &mut err, Paint::Plain)).expect("packaged");
            fs::read(wanted.out.join("step.zip")).expect("a zip")
        };
        let (first, second) = (make("first"), make("second"));
        assert_eq!(first, second);
        assert_eq!(first.windows(4).filter(|four| four == b"PK\x01\x02").count(), 1);
        assert_eq!(&first[30..39], FILE.as_bytes());
        let binary = fs::read(folder.path().join("step").join(FILE)).expect("a binary");
        let mut unpacked = vec![0; binary.len()];
        let unpack = libdeflater::Decompressor::new().deflate_decompress(&first[39..], &mut unpacked);
        assert_eq!((unpack, unpacked), (Ok(binary.len()), binary));
    }

    #[test]
    fn what_is_not_built_or_no_executable_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = package("step", folder.path(), folder.path()).expect_err("not built");
        assert!(refused.to_string().contains("no binary of `step`"), "{refused}");
        fs::create_dir_all(folder.path().join("StepFunction")).expect("a folder");
        fs::write(folder.path().join("StepFunction/bootstrap"), "#!/bin/sh\n").expect("a script");
        let refused = package("step", folder.path(), folder.path()).expect_err("no executable");
        assert!(refused.to_string().contains("no Linux executable"), "{refused}");
    }
}
