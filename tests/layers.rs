//! The order of the layers, read from the source: nothing points up, the cores are pure,
//! and wire types stay where they are converted. A new module is put into the table here.
//! Code under `#[cfg(test)]` is free to look anywhere.

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
    ("store", &["catalog", "config", "types", "wire"]),
    ("engine", &["audit", "catalog", "config", "lease", "metrics", "store", "types"]),
    ("gateway", &["call", "wire"]),
    ("transport", &["call", "config", "tls"]),
    ("tls", &["config"]),
    (
        "api",
        &[
            "auth",
            "call",
            "catalog",
            "config",
            "engine",
            "limits",
            "metrics",
            "proto",
            "telemetry",
            "types",
            "wire",
        ],
    ),
    ("audit", &["call", "catalog", "types"]),
    ("name_registry", &["api", "auth", "call", "engine", "gateway", "proto", "transport", "types", "wire"]),
    ("auth", &["config", "types"]),
    ("limits", &["config", "types"]),
    ("reload", &[]),
    ("wire", &[]),
    ("call", &["auth", "limits", "types"]),
    ("config", &[]),
    ("proto", &["types"]),
    ("metrics", &["catalog", "lease", "types"]),
    ("telemetry", &["audit", "call", "types"]),
    (
        "server",
        &[
            "api",
            "audit",
            "auth",
            "call",
            "config",
            "engine",
            "gateway",
            "limits",
            "metrics",
            "name_registry",
            "proto",
            "reload",
            "store",
            "telemetry",
            "tls",
            "transport",
        ],
    ),
    ("bench", &["proto"]),
    ("client", &["proto"]),
    ("supervise", &["client", "proto"]),
    ("registrar", &["client", "proto"]),
    ("cli", &["*"]),
];

/// What the pure cores never name: sockets, clocks, randomness, logging.
const IMPURE: [&str; 8] =
    ["tokio", "tonic", "Instant", "SystemTime", "rand", "getrandom", "tracing", "async"];

/// The only files of `api/` that may name `crate::proto`: the conversion, and the traits of
/// the service.
const KNOW_THE_WIRE: [&str; 9] = [
    "admin.rs",
    "convert.rs",
    "keepalive.rs",
    "keepalive/outbox.rs",
    "list.rs",
    "mod.rs",
    "request.rs",
    "unary.rs",
    "watch.rs",
];

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

/// A module's code, and the names of the modules that only its tests have.
fn without_tests(tokens: &[String]) -> (Vec<String>, Vec<String>) {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut code, mut modules) = (Vec::new(), Vec::new());
    let mut rest = tokens;
    while let Some(first) = rest.first() {
        if !rest.iter().take(TEST.len()).eq(TEST.iter()) {
            code.push(first.clone());
            rest = &rest[1..];
            continue;
        }
        // The item ends with `;`, or with the brace that closes its first one.
        rest = &rest[TEST.len()..];
        let mut depth = 0;
        let end = rest.iter().position(|token| {
            depth += i32::from(token == "{") - i32::from(token == "}");
            depth == 0 && (token == "}" || token == ";")
        });
        let item = &rest[..=end.expect("an item ends")];
        modules.extend(item.windows(2).filter(|pair| pair[0] == "mod").map(|pair| pair[1].clone()));
        rest = &rest[item.len()..];
    }
    (code, modules)
}

/// Every file of the crate but those that only tests have, with its words and signs.
fn code() -> Vec<(PathBuf, Vec<String>)> {
    let all: Vec<_> = sources(&root())
        .into_iter()
        .map(|file| {
            let (code, tests) = without_tests(&tokens(&fs::read_to_string(&file).unwrap()));
            (file, code, tests)
        })
        .collect();
    let mut test_files = BTreeSet::new();
    for (file, _, tests) in &all {
        let is_root = matches!(stem(file), "mod" | "lib" | "main");
        let dir = if is_root { file.parent().unwrap().to_owned() } else { file.with_extension("") };
        test_files.extend(tests.iter().map(|name| dir.join(name).with_extension("rs")));
    }
    // Under a name of its own (`#[path]`), a file of tests still ends with `_tests`.
    let is_test = |file: &PathBuf| {
        test_files.iter().any(|test| file == test || file.starts_with(test.with_extension("")))
            || stem(file).ends_with("_tests")
    };
    all.into_iter().filter(|(file, ..)| !is_test(file)).map(|(file, code, _)| (file, code)).collect()
}

fn stem(file: &Path) -> &str {
    file.file_stem().and_then(|stem| stem.to_str()).unwrap()
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
    for (file, tokens) in code() {
        let (module, depth) = module_of(&file);
        if module == "main" || module == "lib" {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: the module `{module}` is in no layer", file.display()));
            continue;
        };
        let known: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
        for named in named_modules(&tokens, depth) {
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
    for (file, tokens) in code() {
        let Ok(name) = file.strip_prefix(root().join("api")) else { continue };
        let name = name.to_string_lossy();
        let (_, depth) = module_of(&file);
        if named_modules(&tokens, depth).contains("proto") && !KNOW_THE_WIRE.contains(&&*name) {
            wrong.push(format!("api/{name} names crate::proto"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_checks_see_what_they_should() {
    let check = |source: &str, depth: usize, expect: &[&str]| {
        let (code, _) = without_tests(&tokens(source));
        let named: Vec<String> = named_modules(&code, depth).into_iter().collect();
        assert_eq!(named, expect, "{source}");
    };
    check("use crate::engine::Engine;", 1, &["engine"]);
    check("use crate::{api, lease::{self, Lease}, types::*};", 1, &["api", "lease", "types"]);
    check("fn f(x: &crate::proto::Event) {}", 1, &["proto"]);
    check("use super::engine::Engine;", 1, &["engine"]);
    check("use super::wheel::Wheel;", 2, &[]);
    check("use super::super::engine::Engine;", 2, &["engine"]);
    check("// crate::engine\n/* crate::api */ let s = \"crate::api\"; let c = '\"';", 1, &[]);
    check("#[cfg(test)] mod t { use crate::api; fn f() {} } use crate::types;", 1, &["types"]);
    check("#[cfg(test)] mod tests; use crate::types;", 1, &["types"]);
    check("#[cfg(test)] #[path = \"t.rs\"] mod t; use crate::types;", 1, &["types"]);
    check("let s = r#\"crate::api \"quoted\"\"#; let l: &'static str = x;", 1, &[]);
}
