//! Secrets of tests, and the record of all that was printed while they were used: what
//! `LEASEHOLD_TEST_LOGS` names is a folder that `tests/run` makes for a run. `z_secrets.rs` looks
//! through it at the end.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
};

/// The variable that names the folder.
pub const LOGS: &str = "LEASEHOLD_TEST_LOGS";
/// The file in it that lists the secrets: a name and the secret, a line each.
pub const LIST: &str = "secrets";

/// A random secret of 32 characters, `0-9a-f`, that nothing may ever print. The name tells what
/// it was for, should it be found all the same.
pub fn secret(name: &str) -> String {
    let secret = format!("{:032x}", rand::random::<u128>());
    if let Some(logs) = logs() {
        append(&logs.join(LIST), &format!("{name} {secret}\n"));
    }
    secret
}

/// The folder of this run's output, if it is kept.
pub fn logs() -> Option<PathBuf> {
    env::var_os(LOGS).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Keeps a line that a child process wrote.
pub fn record(line: &[u8]) {
    if let Some(mut file) = children() {
        // Appended by one write, so that lines of several processes stay whole.
        let whole = [line, b"\n"].concat();
        file.write_all(&whole).expect("the folder of this run's output can be written");
    }
}

/// Keeps the arguments that a child process shows to everybody.
pub fn record_arguments(process: u32) {
    if children().is_some()
        && let Ok(arguments) = fs::read(format!("/proc/{process}/cmdline"))
    {
        record(&[b"arguments: ".as_slice(), &arguments].concat());
    }
}

fn children() -> Option<&'static File> {
    static CHILDREN: OnceLock<Option<File>> = OnceLock::new();
    let open = || {
        let path = logs()?.join(format!("children-{}.log", process::id()));
        Some(
            OpenOptions::new().create(true).append(true).open(path).expect("the folder of this run's output"),
        )
    };
    CHILDREN.get_or_init(open).as_ref()
}

fn append(path: &Path, text: &str) {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the list of secrets can be written");
}
