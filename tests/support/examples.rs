//! The programs of `examples/`.

use std::path::{Path, PathBuf};

/// An example that cargo built: it lies beside the folder of the tests.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps");
    let path = profile.join("examples").join(name);
    assert!(
        path.is_file(),
        "{} is not there: `cargo test` builds it, `cargo test --test …` alone does not; run \
         `cargo build --example {name}` first",
        path.display()
    );
    path
}
