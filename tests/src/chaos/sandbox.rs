//! How function processes are started: each with an AWS endpoint that carries its process id, and with a clock of its own.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use windlass_operator::stack::FUNCTIONS;

use super::clocks::Clocks;

/// Writes a program per function into `folder` that becomes the one in `binaries`, sent to `endpoint/<its process id>`.
///
/// # Panics
/// When it cannot be written.
pub fn wrap(binaries: &Path, folder: &Path, endpoint: &str, clocks: Option<&Clocks>) {
    for function in FUNCTIONS {
        let program = binaries.join(function);
        let clock = clocks.map(Clocks::exports).unwrap_or_default();
        let text = format!("#!/bin/sh\nexport AWS_ENDPOINT_URL={endpoint}/$$\n{clock}exec '{}'\n", program.display());
        let wrapper = folder.join(function);
        fs::write(&wrapper, text).expect("a program is written");
        fs::set_permissions(&wrapper, Permissions::from_mode(0o755)).expect("it can be run");
    }
}
