//! The checks that are fuzzed (`fuzz/`), on the inputs that fuzzing starts from, each of
//! them also cut off at every length and with every byte changed.

#![allow(clippy::unwrap_used)]

#[path = "../fuzz/checks.rs"]
mod checks;

use std::fs;

/// Inputs longer than this are there for their size.
const SMALL: usize = 300;

fn each_seed(target: &str, check: impl Fn(&[u8])) {
    let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut seeds = 0;
    for seed in fs::read_dir(folder).unwrap() {
        let mut input = fs::read(seed.unwrap().path()).unwrap();
        seeds += 1;
        check(&input);
        for at in 0..input.len().min(SMALL) {
            check(&input[..at]);
            for byte in [b'"', b'{', b']', b'0', 0xff] {
                let kept = std::mem::replace(&mut input[at], byte);
                check(&input);
                input[at] = kept;
            }
        }
    }
    assert!(seeds > 10, "{seeds} seeds");
}

#[test]
fn json() {
    each_seed("json", checks::json);
}

#[test]
fn requests() {
    each_seed("request", checks::request);
}
