//! In a real terminal, which tmux is: job control, the keys that send signals, the window's size.

use std::{
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

use super::{
    rig::{Family, NOWHERE, child, signal, state_of},
    support::{BINARY, SOON, wait_for, without_settings},
};

/// A shell with job control in a terminal of its own.
struct Terminal {
    /// Where tmux has its socket.
    folder: TempDir,
    name: String,
}

impl Terminal {
    fn open() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("leasehold-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let terminal = Self { folder: tempfile::tempdir().unwrap(), name };
        let shell = "exec bash --norc --noprofile -i";
        let opened = terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "200", "-y", "50", shell]);
        assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
        terminal.line("PS1='$ '; set -b; clear; echo a shell");
        terminal.shows("a shell");
        terminal
    }

    fn tmux(&self, words: &[&str]) -> Output {
        let mut tmux = Command::new("tmux");
        tmux.args(["-L", &self.name]).args(words).env("TMUX_TMPDIR", self.folder.path()).env_remove("TMUX");
        without_settings(&mut tmux);
        tmux.output().expect("tmux: tests/run installs it")
    }

    /// Types a key, such as `C-c`.
    fn key(&self, key: &str) {
        assert!(self.tmux(&["send-keys", key]).status.success(), "{key}");
    }

    /// Types a line.
    fn line(&self, text: &str) {
        assert!(self.tmux(&["send-keys", "-l", text]).status.success(), "{text}");
        self.key("Enter");
    }

    /// What is on the screen.
    fn screen(&self) -> String {
        let captured = self.tmux(&["capture-pane", "-p", "-J", "-S", "-"]);
        String::from_utf8_lossy(&captured.stdout).into_owned()
    }

    /// Waits for a line with this in it that was not typed: what is typed stands after a prompt, or has `echo` in it.
    #[track_caller]
    fn shows(&self, part: &str) {
        self.find(part, |line| (line.contains(part) && !line.contains("echo")).then_some(()));
    }

    #[track_caller]
    fn find<T>(&self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        let begun = std::time::Instant::now();
        wait_for(what, SOON * 2, || {
            let screen = self.screen();
            let found = screen.lines().rev().find_map(&pick);
            assert!(found.is_some() || begun.elapsed() < SOON, "no {what} on the screen:\n{screen}");
            found
        })
    }

    /// Waits until this program has the terminal: what is typed before, the shell may take for itself.
    #[track_caller]
    fn belongs_to(&self, program: &str) {
        wait_for(program, SOON, || {
            let shown = self.tmux(&["display-message", "-p", "#{pane_current_command}"]);
            (String::from_utf8_lossy(&shown.stdout).trim() == program).then_some(())
        });
    }

    /// How often a line stands there.
    fn count(&self, line: &str) -> usize {
        self.screen().lines().filter(|shown| shown.contains(line)).count()
    }

    /// Runs `leasehold run` of the child that tells of its signals, with this before and after it.
    #[track_caller]
    fn run(&self, before: &str, signals: &[&str], after: &str) -> Family {
        self.line(&format!("{before}{} {after}", command(&quoted(&child(signals)))));
        self.find("ready", Family::read)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// Says what it reads, in a way that what was typed does not look like.
const ECHO: &str = "sed -u 's/^/read: /'";

fn command(of: &str) -> String {
    format!("{BINARY} run --quiet --server {NOWHERE} --service a --url http://a:1 -- {of}")
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_key_reaches_the_child_once() {
    let terminal = Terminal::open();
    let family = terminal.run("", &["INT", "QUIT", "USR1"], "");
    terminal.line("say typed");
    terminal.shows("said typed");
    for (key, name) in [("C-c", "INT"), ("C-\\", "QUIT")] {
        terminal.key(key);
        terminal.shows(&format!("got {name} 1"));
    }
    // Had one been passed on as well, it would have come before this one.
    signal("USR1", family.parent);
    terminal.shows("got USR1 1");
    assert_eq!(terminal.count("got INT"), 1, "{}", terminal.screen());
    assert_eq!(terminal.count("got QUIT"), 1, "{}", terminal.screen());
    terminal.line("exit 7");
    terminal.line("echo \"code: $?\"");
    terminal.find("the code", |line| (line == "code: 7").then_some(()));
}

#[test]
fn the_window_is_the_childs() {
    let terminal = Terminal::open();
    terminal.run("", &["WINCH"], "");
    terminal.line("size");
    terminal.shows("size 200x50");
    terminal.tmux(&["resize-window", "-x", "90", "-y", "30"]);
    terminal.shows("got WINCH 1");
    terminal.line("size");
    terminal.shows("size 90x30");
    terminal.line("exit 0");
}

#[test]
fn it_is_one_job() {
    let terminal = Terminal::open();
    let family = terminal.run("", &["INT"], "");
    for round in 1..=2 {
        terminal.key("C-z");
        wait_for("both to be stopped", SOON, || {
            [family.child, family.parent].iter().all(|id| state_of(*id) == Some('T')).then_some(())
        });
        terminal.line("fg");
        terminal.belongs_to("leasehold");
        terminal.line(&format!("say round {round}"));
        terminal.shows(&format!("said round {round}"));
        terminal.key("C-c");
        terminal.shows(&format!("got INT {round}"));
    }
    terminal.line("exit 3");
    terminal.line("echo \"code: $?\"");
    terminal.find("the code", |line| (line == "code: 3").then_some(()));
}

#[test]
fn in_the_background_it_waits_for_the_terminal() {
    let terminal = Terminal::open();
    terminal.line(&format!("{} &", command(ECHO)));
    // It reads what it may not, and is stopped for that.
    terminal.find("the job to be stopped", |line| line.contains("Stopped").then_some(()));
    terminal.line("clear; fg");
    terminal.belongs_to("leasehold");
    terminal.line("now it reads");
    terminal.find("it to be read", |line| (line == "read: now it reads").then_some(()));
    terminal.key("C-d");
    terminal.line("echo \"code: $?\"");
    terminal.find("the code", |line| (line == "code: 0").then_some(()));
}

#[test]
fn it_pauses_as_an_editor_does() {
    // A program that catches the key, tidies up, and stops itself.
    let terminal = Terminal::open();
    let script = "import os, signal, sys\n\
                  def pause(*_):\n    print('tidy', flush=True)\n    os.kill(os.getpid(), signal.SIGSTOP)\n\
                  signal.signal(signal.SIGTSTP, pause)\nprint('ready', flush=True)\n\
                  for line in sys.stdin: print('said', line, end='', flush=True)\n";
    let file = terminal.folder.path().join("editor.py");
    std::fs::write(&file, script).unwrap();
    let python = child(&[]).remove(0);
    terminal.line(&command(&quoted(&[python, file.display().to_string()])));
    terminal.find("ready", |line| (line == "ready").then_some(()));
    terminal.key("C-z");
    terminal.find("the job to be stopped", |line| line.contains("Stopped").then_some(()));
    terminal.line("fg");
    terminal.belongs_to("leasehold");
    terminal.line("hello");
    terminal.shows("said hello");
    terminal.key("C-d");
}

#[test]
fn an_interrupt_ends_a_loop_around_it() {
    // A shell ends its loop only for a command that the signal ended.
    let terminal = Terminal::open();
    terminal.line(&format!("while :; do {}; echo 'once more'; done", command("sleep 1000")));
    let mine = |line: &str| line.contains("sleep 1000").then_some(());
    terminal.find("the command", mine);
    terminal.belongs_to("leasehold");
    terminal.key("C-c");
    terminal.line("echo \"code: $?\"");
    terminal.find("the code", |line| (line == "code: 130").then_some(()));
    assert!(!terminal.screen().lines().any(|line| line == "once more"), "{}", terminal.screen());
}

#[test]
fn a_shell_in_it_has_jobs_of_its_own() {
    let terminal = Terminal::open();
    terminal.line(&command("bash --norc --noprofile -i"));
    terminal.find("a prompt", |line| line.starts_with("bash-").then_some(()));
    terminal.line("PS1='inner '; echo \"shell $((40 + 2))\"");
    terminal.find("the inner shell", |line| (line == "shell 42").then_some(()));
    terminal.line(ECHO);
    terminal.belongs_to("sed");
    terminal.line("typed");
    terminal.find("it to be read", |line| (line == "read: typed").then_some(()));
    terminal.key("C-z");
    terminal.find("the inner job to be stopped", |line| {
        (line.contains("Stopped") && line.contains("sed")).then_some(())
    });
    terminal.line("fg");
    terminal.belongs_to("sed");
    terminal.line("again");
    terminal.find("it to go on", |line| (line == "read: again").then_some(()));
    terminal.key("C-d");
    terminal.line("exit 5");
    terminal.line("echo \"code: $?\"");
    terminal.find("the code", |line| (line == "code: 5").then_some(()));
}
