//! On what machine it was measured.

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor's name.
    pub cpu: Option<String>,
    /// The operating system, and its kernel's release.
    pub system: String,
    /// Memory, in bytes.
    pub memory: Option<u64>,
}

impl Machine {
    /// This one.
    pub fn read() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let release = read("/proc/sys/kernel/osrelease");
        let system = match release.as_deref().map(str::trim) {
            Some(release) => format!("{} {release}", std::env::consts::OS),
            None => std::env::consts::OS.to_owned(),
        };
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cpu: read("/proc/cpuinfo").and_then(|text| field(&text, "model name")),
            system: format!("{system} {}", std::env::consts::ARCH),
            memory: read("/proc/meminfo")
                .and_then(|text| field(&text, "MemTotal"))
                .and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)),
        }
    }
}

/// The first `name: value` of a file in `/proc`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        let text = "processor\t: 0\nmodel name\t: A chip: fast\nmodel name\t: B\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A chip: fast"));
        assert_eq!(field(text, "MemTotal"), None);
        assert!(Machine::read().cores > 0);
    }
}
