//! Python with packages from PyPI, in a virtual environment of a test's own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Python with these packages, below `folder`.
///
/// # Errors
/// Why there is none: a test says so and ends, since what it needs is not this project's.
pub fn with(folder: &Path, packages: &[&str]) -> Result<PathBuf, String> {
    let environment = folder.join("venv");
    let python = environment.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| {
        let ran = Command::new(program).args(arguments).stdout(Stdio::null()).output();
        match ran {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    run(Path::new("python3"), &["-m", "venv", &environment.display().to_string()])?;
    let install = ["-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "10"];
    run(&python, &[&install, packages].concat())?;
    Ok(python)
}
