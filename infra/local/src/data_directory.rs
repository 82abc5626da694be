//! The directory in which a stack survives a restart. Only its owner may look into it.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Where each part keeps its state.
#[derive(Debug, Clone)]
pub(crate) struct DataDirectory(PathBuf);

impl DataDirectory {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE))?;
        Ok(Self(path.to_owned()))
    }

    /// SQLite database of all tables.
    pub(crate) fn tables(&self) -> PathBuf {
        self.0.join("tables.sqlite")
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.0.join("secrets.json")
    }

    pub(crate) fn issuer_key(&self) -> PathBuf {
        self.0.join("issuer-key.der")
    }
}

/// Replaces a file at once, readable by its owner only: whatever happens, the old or the new content is there.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}
