//! Clocks of function processes that jump, by `libfaketime` (Debian's package of that name) between them and the operating system.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where distributions put the library.
const FOLDERS: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib/faketime",
    "/usr/lib64/faketime",
];

/// How far a clock is moved, in milliseconds either way: two clocks then differ by less than `CLOCK_SKEW_MAX`, the bound up to which
/// the kit promises anything.
pub const JUMP_MILLIS_MAX: i32 = 450;

/// The clocks of function processes, each in a file of its own.
#[derive(Debug, Clone)]
pub struct Clocks {
    library: PathBuf,
    folder: PathBuf,
}

impl Clocks {
    /// Clocks in `folder`; `None` without the library.
    pub fn find(folder: &Path) -> Option<Clocks> {
        let libraries = FOLDERS.map(|folder| Path::new(folder).join("libfaketime.so.1"));
        let library = libraries.into_iter().find(|library| library.exists())?;
        Some(Clocks { library, folder: folder.to_owned() })
    }

    /// What a shell exports for a program whose clock is to be moved; its process is `$$`.
    pub fn exports(&self) -> String {
        format!(
            "export FAKETIME_TIMESTAMP_FILE='{}'/clock-$$ FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_FAKE_MONOTONIC=1\n\
             export FAKETIME_DISABLE_SHM=1 DONT_FAKE_MONOTONIC=1\n\
             printf '+0' >\"$FAKETIME_TIMESTAMP_FILE\"\n\
             export LD_PRELOAD='{}'\n",
            self.folder.display(),
            self.library.display()
        )
    }

    /// Sets a process's clock that far from the operating system's; it notices within a second.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn set(&self, process: u32, millis: i32) {
        let file = self.folder.join(format!("clock-{process}"));
        let new = self.folder.join(format!("new-{process}"));
        fs::write(&new, format!("{:+.3}", f64::from(millis) / 1_000.0)).expect("a clock is written");
        fs::rename(&new, &file).expect("a clock is put in place");
    }
}
