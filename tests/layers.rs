//! The order of the layers, read from the source: nothing points up, the cores are pure,
//! and wire types stay where they are converted. A new module is put into the table here.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A module of the crate, and the modules it may name. `*` is any.
const LAYERS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("lease", &["types"]),
    ("catalog", &["types"]),
    ("engine", &["catalog", "config", "lease", "types"]),
    ("gateway", &["call"]),
    ("api", &["call", "catalog", "config", "engine", "proto", "types"]),
    ("call", &[]),
    ("config", &[]),
    ("proto", &[]),
    ("telemetry", &[]),
    ("server", &["api", "call", "config", "engine", "gateway", "proto", "telemetry"]),
    ("client", &["proto"]),
    ("cli", &["*"]),
];

/// What the pure cores never name: sockets, clocks, randomness, logging.
const IMPURE: [&str; 8] =
    ["tokio", "tonic", "Instant", "SystemTime", "rand", "getrandom", "tracing", "async"];

/// The only files of `api/` that may name `crate::proto`: the conversion, and the traits of
/// the service.
const KNOW_THE_WIRE: [&str; 4] = ["convert.rs", "keepalive.rs", "mod.rs", "watch.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file below `dir`, sorted.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The words and signs of a source: comments, strings and characters left out.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let mut index = 0;
    while index < chars.len() {
        let char = at(index);
        if char == '/' && at(index + 1) == '/' {
            while index < chars.len() && at(index) != '\n' {
                index += 1;
            }
        } else if char == '/' && at(index + 1) == '*' {
            index += 2;
            while index < chars.len() && !(at(index) == '*' && at(index + 1) == '/') {
                index += 1;
            }
            index += 2;
        } else if char == 'r' && raw_string_hashes(&chars[index..]).is_some() {
            let hashes = raw_string_hashes(&chars[index..]).unwrap();
            let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let rest: String = chars[index + 2 + hashes..].iter().collect();
            let inside = rest.find(&end).expect("a raw string ends");
            index += 2 + hashes + rest[..inside].chars().count() + end.len();
        } else if char == '"' {
            index += 1;
            while index < chars.len() && at(index) != '"' {
                index += if at(index) == '\\' { 2 } else { 1 };
            }
            index += 1;
        } else if char == '\'' && (at(index + 1) == '\\' || at(index + 2) == '\'') {
            // A character, not a lifetime.
            index += if at(index + 1) == '\\' { 3 } else { 2 };
            while at(index) != '\'' {
                index += 1;
            }
            index += 1;
        } else if char.is_alphabetic() || char == '_' {
            let start = index;
            while at(index).is_alphanumeric() || at(index) == '_' {
                index += 1;
            }
            tokens.push(chars[start..index].iter().collect());
        } else if char == ':' && at(index + 1) == ':' {
            tokens.push("::".to_owned());
            index += 2;
        } else {
            if !char.is_whitespace() {
                tokens.push(char.to_string());
            }
            index += 1;
        }
    }
    tokens
}

/// How many `#` a raw string that begins here has.
fn raw_string_hashes(chars: &[char]) -> Option<usize> {
    let hashes = chars[1..].iter().take_while(|char| **char == '#').count();
    (chars.get(1 + hashes) == Some(&'"')).then_some(hashes)
}

/// The modules of the crate that a file names, through `crate::` or a `super::` that
/// reaches the top. `depth` is how many modules the file is below the top.
fn named_modules(tokens: &[String], depth: usize) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (index, token) in tokens.iter().enumerate() {
        let follows_path = index > 0 && tokens[index - 1] == "::";
        let mut next = index;
        if token == "crate" {
            next += 1;
        } else if token == "super" && !follows_path {
            let mut up = 0;
            while tokens.get(next).is_some_and(|token| token == "super") {
                up += 1;
                next += 2;
            }
            if up < depth {
                continue;
            }
            next -= 1;
        } else {
            continue;
        }
        if tokens.get(next).is_none_or(|token| token != "::") {
            continue;
        }
        named.extend(first_segments(&tokens[next + 1..]));
    }
    named
}

/// The first segment of a path, or those of a group `{a::b, c}`.
fn first_segments(tokens: &[String]) -> Vec<String> {
    if tokens.first().is_none_or(|token| token != "{") {
        return tokens.first().cloned().into_iter().collect();
    }
    let mut segments = Vec::new();
    let mut depth = 0;
    let mut wanted = false;
    for token in tokens {
        match token.as_str() {
            "{" => {
                depth += 1;
                wanted = depth == 1;
            }
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," => wanted = depth == 1,
            _ if wanted => {
                segments.push(token.clone());
                wanted = false;
            }
            _ => {}
        }
    }
    segments
}

/// The module a file belongs to, and how deep it is below the top of the crate. A file
/// `a/b.rs` and a file `a/b/mod.rs` are both the module `a::b`.
fn module_of(file: &Path) -> (String, usize) {
    let relative = file.strip_prefix(root()).unwrap().with_extension("");
    let mut parts: Vec<String> =
        relative.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    (parts[0].clone(), parts.len())
}

#[test]
fn nothing_points_up() {
    let mut wrong = Vec::new();
    for file in sources(&root()) {
        let (module, depth) = module_of(&file);
        if module == "main" || module == "lib" {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: the module `{module}` is in no layer", file.display()));
            continue;
        };
        let known: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
        for named in named_modules(&tokens(&fs::read_to_string(&file).unwrap()), depth) {
            // What is no module of the crate is an item of its root.
            let permitted = named == module || allowed.contains(&"*") || allowed.contains(&named.as_str());
            if known.contains(named.as_str()) && !permitted {
                wrong.push(format!("{}: `{module}` names `{named}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_modules_of_the_crate_are_the_tables() {
    let declared: BTreeSet<String> = declared_modules();
    let known: BTreeSet<String> = LAYERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let unknown: Vec<_> = declared.difference(&known).collect();
    assert!(unknown.is_empty(), "in no layer: {unknown:?}");
    for core in ["types", "lease", "catalog", "engine", "api", "gateway"] {
        assert!(declared.contains(core), "{core} is there to be checked");
    }
}

fn declared_modules() -> BTreeSet<String> {
    let tokens = tokens(&fs::read_to_string(root().join("lib.rs")).unwrap());
    tokens.windows(2).filter(|pair| pair[0] == "mod").map(|pair| pair[1].clone()).collect()
}

#[test]
fn the_cores_are_pure() {
    let mut wrong = Vec::new();
    for core in ["lease", "catalog", "types"] {
        let files = sources(&root().join(core));
        assert!(!files.is_empty(), "{core} has files");
        for file in files {
            let tokens = tokens(&fs::read_to_string(&file).unwrap());
            for name in IMPURE {
                if tokens.iter().any(|token| token == name) {
                    wrong.push(format!("{} names {name}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn wire_types_stop_in_the_conversion() {
    let mut wrong = Vec::new();
    for file in sources(&root().join("api")) {
        let name = file.strip_prefix(root().join("api")).unwrap().to_string_lossy().into_owned();
        let (_, depth) = module_of(&file);
        let named = named_modules(&tokens(&fs::read_to_string(&file).unwrap()), depth);
        if named.contains("proto") && !KNOW_THE_WIRE.contains(&name.as_str()) {
            wrong.push(format!("api/{name} names crate::proto"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_checks_see_what_they_should() {
    let check = |source: &str, depth: usize, expect: &[&str]| {
        let named: Vec<String> = named_modules(&tokens(source), depth).into_iter().collect();
        assert_eq!(named, expect, "{source}");
    };
    check("use crate::engine::Engine;", 1, &["engine"]);
    check("use crate::{api, lease::{self, Lease}, types::*};", 1, &["api", "lease", "types"]);
    check("fn f(x: &crate::proto::Event) {}", 1, &["proto"]);
    check("use super::engine::Engine;", 1, &["engine"]);
    check("use super::wheel::Wheel;", 2, &[]);
    check("use super::super::engine::Engine;", 2, &["engine"]);
    check("// crate::engine\n/* crate::api */ let s = \"crate::api\"; let c = '\"';", 1, &[]);
    check("let s = r#\"crate::api \"quoted\"\"#; let l: &'static str = x;", 1, &[]);
}
