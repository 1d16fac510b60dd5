//! `leasehold key new`: a fresh secret, and the entry that makes it a key.

use clap::{Args, Subcommand};

use super::{Failure, output};
use crate::{
    auth::{self, Scope, SecretHash},
    types::Globs,
};

/// Make keys
#[derive(Args, Debug)]
pub struct Key {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(New),
}

/// Make a key: a secret for the client, and an entry for the server
///
/// Both are printed, and nothing is kept: the secret is shown this once.
#[derive(Args, Debug)]
#[command(after_help = WHERE)]
struct New {
    /// The key's name, as logs and metrics show it [default: key- and the start of its hash]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// What it is good for: register, read, admin; several separated by commas
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', default_value = "register,read")]
    allow: Vec<String>,

    /// Only for services of this name, such as 'billing-*'; may be given several times [default: all]
    #[arg(long = "service", value_name = "GLOB")]
    services: Vec<String>,
}

const WHERE: &str = "\
The secret goes to the client: into a file for --service-key-file, or into LEASEHOLD_SERVICE_KEY \
(SERVICEKIT_REGISTRATION_KEY for servicekit). Only the entry goes to the server: paste it into the \
file that `leasehold serve --keys` names, which is read again when it changes. Do not append this \
command's whole output there: the secret would be in the file, and the server refuses it.";

impl Key {
    /// Prints the key.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::New(new) => new.run(),
        }
    }
}

impl New {
    fn run(self) -> Result<(), Failure> {
        let wrong = |flag: &str, why: String| Failure::usage(format!("the key {why} ({flag})"));
        if let Some(name) = &self.name {
            auth::check_name(name).map_err(|why| wrong("--name", why))?;
        }
        let allow = auth::scopes_of(&self.allow).map_err(|why| wrong("--allow", why))?;
        Globs::parse(&self.services)
            .map_err(|(glob, error)| wrong("--service", format!("has a service {glob:?} that {error}")))?;
        if allow.contains(&Scope::Admin) && !self.services.is_empty() {
            let why = "cannot allow admin for some services only: a backup holds all of them";
            return Err(wrong("--allow, --service", why.to_owned()));
        }
        let secret = auth::fresh()
            .map_err(|error| Failure::other(format!("the system gives no randomness: {error}")))?;
        let hash = SecretHash::of(secret.0.as_bytes());
        let name = self.name.unwrap_or_else(|| format!("key-{}", hash.short()));
        let allow = allow.iter().map(|scope| scope.name());
        let services = match &self.services[..] {
            [] => String::new(),
            globs => format!("\nservices = {}", list(globs.iter().map(String::as_str))),
        };
        let entry =
            format!("[[key]]\nname = \"{name}\"\nhash = \"{hash}\"\nallow = {}{services}", list(allow));
        output::line(&format!(
            "# The secret, for the client; it is shown this once:\n\n{}\n\n# The entry, for the server's file of keys (--keys):\n\n{entry}",
            secret.0
        ))
    }
}

/// A TOML list of texts in which nothing is to be escaped.
fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = texts.map(|text| format!("\"{text}\"")).collect();
    format!("[{}]", quoted.join(", "))
}
