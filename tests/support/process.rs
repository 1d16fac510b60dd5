//! A child process whose output is collected line by line, and which never outlives the
//! test: it is killed by its own id when dropped.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{secrets, wait_for};

/// A running child.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    stderr: Lines,
    /// How many lines of stdout [`Process::next_line`] gave out.
    read: usize,
}

impl Process {
    /// Starts it, with all three streams piped.
    pub fn spawn(mut command: Command) -> Self {
        Self::start(&mut command)
    }

    /// The same, of a command that may be started again.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        secrets::record_arguments(child.id());
        let stdin = child.stdin.take();
        let stdout = Lines::collect(child.stdout.take().expect("piped"));
        let stderr = Lines::collect(child.stderr.take().expect("piped"));
        Self { child, stdin, stdout, stderr, read: 0 }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of stdout.
    pub fn next_line(&mut self, what: &str, limit: Duration) -> String {
        self.expect_line(what, limit, |line| Some(line.to_owned()))
    }

    /// Reads on in stdout up to the line that `pick` makes something of.
    pub fn expect_line<T>(&mut self, what: &str, limit: Duration, pick: impl FnMut(&str) -> Option<T>) -> T {
        self.try_expect_line(what, limit, pick).unwrap_or_else(|ended| panic!("{ended}"))
    }

    /// The same; when it ended before that line, what it had written.
    pub fn try_expect_line<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, String> {
        wait_for(what, limit, || {
            // Looked at first: what was written before the end is then all there.
            let ended = self.child.try_wait().expect("a child of ours").is_some() && self.stdout.at_end();
            let fresh = self.stdout.lock()[self.read..].to_vec();
            for line in fresh {
                self.read += 1;
                if let Some(found) = pick(&line) {
                    return Some(Ok(found));
                }
            }
            ended.then(|| {
                self.join();
                let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
                Err(format!("it ended before {what}\nstdout:\n{stdout}\nstderr:\n{stderr}"))
            })
        })
    }

    /// Everything on stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Everything on stderr so far; all of it once the process has ended.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Writes a line to its stdin.
    pub fn write_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("the child reads its stdin");
    }

    /// Ends its stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends `TERM`, `STOP`, `CONT`, … to this very process.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &self.id().to_string()])
            .status()
            .expect("a shell");
        assert!(sent.success(), "SIG{name} to {}", self.id());
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Waits for it to end by itself.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let status =
            wait_for("the process to end", limit, || self.child.try_wait().expect("a child of ours"));
        self.join();
        status
    }

    /// `kill -9`, and all it wrote is there afterwards.
    pub fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join();
    }

    fn join(&mut self) {
        self.stdout.join();
        self.stderr.join();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, read by a thread of their own.
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Lines {
    fn collect(stream: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                secrets::record(&line);
                let line = String::from_utf8_lossy(&line).into_owned();
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { lines, reader: Some(reader) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        self.lock().join("\n")
    }

    fn at_end(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
    }
}
