//! Python from PyPI, in virtual environments of the tests' own under `target/python`: made once, used again by every later run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// What goes wrong when there is no Python, or PyPI cannot be reached: a test that needs it says so and ends.
pub type Absent = String;

/// The file in an environment that names what is installed in it. Written last: an environment without it is not whole.
const STAMP: &str = "installed.txt";

/// Python with these packages from PyPI, in the environment of this name.
///
/// # Errors
/// Why there is none.
pub fn with(name: &str, packages: &[&str]) -> Result<PathBuf, Absent> {
    let environments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python");
    fs::create_dir_all(&environments).map_err(|error| error.to_string())?;
    // Two tests may want the same environment at once.
    let lock = fs::File::create(environments.join(format!("{name}.lock"))).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let environment = environments.join(name);
    let (python, stamp) = (environment.join("bin/python"), environment.join(STAMP));
    let wanted = packages.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) && python.exists() {
        return Ok(python);
    }
    let _ = fs::remove_dir_all(&environment);
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&environment).output())?;
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"];
    succeed(Command::new(&python).args(install).args(packages).output())?;
    fs::write(&stamp, wanted).map_err(|error| error.to_string())?;
    Ok(python)
}

fn succeed(ran: std::io::Result<Output>) -> Result<(), Absent> {
    match ran {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
