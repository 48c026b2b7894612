//! What `lifeline up` shows on a terminal: a real pseudo-terminal, and an emulation of what a person would see on it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A program on a terminal.
struct Terminal {
    child: Child,
    keyboard: File,
    output: Receiver<Vec<u8>>,
    parser: vt100::Parser,
    raw: Vec<u8>,
}

/// Rows that are kept, those that were scrolled away too.
const ROWS: u16 = 300;

/// Starts a program on a new terminal: our side of that, and the program.
fn on_terminal(columns: u16, program: &mut Command) -> (File, Child) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let size = Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&ours, size).unwrap();
    let path = PathBuf::from(String::from_utf8(ptsname(&ours, Vec::new()).unwrap().into_bytes()).unwrap());
    let theirs = || File::options().read(true).write(true).open(&path).unwrap();
    let child = program.stdin(theirs()).stdout(theirs()).stderr(theirs()).spawn().unwrap();
    // the descriptors that the command keeps would hold the terminal open
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    (File::from(ours), child)
}

impl Terminal {
    fn start(columns: u16, program: &mut Command) -> Self {
        let (mut ours, child) = on_terminal(columns, program);
        let (sender, output) = channel();
        let keyboard = ours.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // an error is the end: nobody has the other side open any more
            while let Ok(read @ 1..) = ours.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keyboard, output, parser: vt100::Parser::new(ROWS, columns, 0), raw: Vec::new() }
    }

    /// What is on the screen when `seen` is true for the first time.
    fn wait(&mut self, seen: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let screen = self.parser.screen().contents();
            if seen(&screen) {
                return screen;
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => {
                    self.parser.process(&bytes);
                    self.raw.extend(bytes);
                }
                Err(RecvTimeoutError::Timeout) => panic!("not seen within a minute:\n{screen}"),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without it:\n{screen}"),
            }
        }
    }

    /// What is on the screen in the end, and the exit code.
    fn end(mut self) -> (String, Option<i32>, Vec<u8>) {
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_secs(60)) {
            self.parser.process(&bytes);
            self.raw.extend(bytes);
        }
        let code = self.child.wait().unwrap().code();
        (self.parser.screen().contents(), code, self.raw)
    }

    /// Ctrl-C: the terminal shows it, and would send the signal to the processes that it controls.
    fn interrupt(&mut self) {
        self.keyboard.write_all(b"\x03").unwrap();
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
    }
}

fn up(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeline"));
    command.args(["up", "--listen", "127.0.0.1:0", "--producer-health-addr", "127.0.0.1:0"]);
    command.args(["--consumer-health-addr", "127.0.0.1:0"]).args(arguments);
    command
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR")
        .env_remove("CLICOLOR_FORCE");
    command
}

fn input(name: &str, lines: &[&str]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

#[test]
fn a_message_is_one_line_at_any_width_and_the_status_line_leaves_nothing_behind() {
    for columns in [45, 80, 110, 200] {
        let mut terminal = Terminal::start(columns, &mut up(&["--publish-rate", "20", "--seed", "7"]));
        terminal.wait(|screen| screen.contains("/s  handled ") && screen.matches("✓ handled").count() > 10);
        terminal.interrupt();
        let (screen, code, _) = terminal.end();
        assert_eq!(code, Some(0), "{screen}");
        assert!(screen.contains("SNS and SQS  http://127.0.0.1:"), "{screen}");
        let (lines, table) = screen.split_once("What became of the messages").unwrap();
        assert!(!lines.contains("/s  handled "), "the status line was left behind:\n{screen}");
        assert!(table.contains("✓ Nothing was lost."), "{screen}");
        // a line that was too long would have been continued on the next one
        let messages = lines.split_once("✓ handled").unwrap().1;
        for line in messages.lines().skip(1).filter(|line| !line.is_empty()) {
            let known =
                ["✓ handled", "… ", "shutting down", "signal", "^C"].iter().any(|part| line.contains(part));
            assert!(known || columns == 45, "{columns} columns: {line:?} in\n{screen}");
        }
    }
}

#[test]
fn what_failed_is_shown_with_its_reason_and_counted_in_the_table() {
    let from = input("failed", &["one", "two"]);
    let arguments = ["--input", from.to_str().unwrap(), "--handler-timeout", "1ms", "--max-receives", "1"];
    // it accepts connections, and does not respond
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", server.local_addr().unwrap());
    let terminal = Terminal::start(110, up(&arguments).args(["--handler-url", &url]));
    let (screen, code, _) = terminal.end();
    assert_eq!(code, Some(1), "{screen}");
    assert_eq!(screen.matches("✗ dead letter").count(), 2, "{screen}");
    assert!(screen.contains("the handler took longer than 1ms (attempt 1, the last)"), "{screen}");
    assert!(screen.contains("dead letters                         2"), "{screen}");
    assert!(screen.contains("✗ Exit code 1: something was left undone."), "{screen}");
    std::fs::remove_file(from).unwrap();
}

#[test]
fn colours_are_left_out_where_they_are_not_wanted() {
    let from = input("colours", &["one"]);
    let arguments = ["--input", from.to_str().unwrap()];
    let coloured = |raw: &[u8]| raw.windows(3).any(|bytes| bytes == b"\x1b[3");
    let (_, _, raw) = Terminal::start(110, &mut up(&arguments)).end();
    assert!(coloured(&raw));
    let (screen, _, raw) = Terminal::start(110, up(&arguments).env("NO_COLOR", "1")).end();
    assert!(!coloured(&raw) && screen.contains("✓ handled"), "{screen}");
    std::fs::remove_file(from).unwrap();
}

#[test]
fn the_log_is_shown_on_a_terminal_if_it_is_asked_for() {
    let from = input("log", &["one"]);
    for flags in [["--log", "--seed=1"], ["--rust-log=info", "--seed=1"], ["--log-format=json", "--seed=1"]] {
        let (screen, code, _) =
            Terminal::start(200, up(&["--input", from.to_str().unwrap()]).args(flags)).end();
        assert_eq!(code, Some(0), "{screen}");
        assert!(screen.contains("message_id") && screen.contains("drained"), "{flags:?}:\n{screen}");
        assert!(!screen.contains("What became of the messages"), "{flags:?}:\n{screen}");
    }
    std::fs::remove_file(from).unwrap();
}

#[test]
fn messages_on_standard_output_leave_the_view_on_standard_error() {
    let from = input("stdout", &["one"]);
    let mut terminal = Terminal::start(80, &mut up(&["--output", "-", "--input", from.to_str().unwrap()]));
    let screen = terminal.wait(|screen| screen.contains("Nothing was lost"));
    assert!(screen.lines().any(|line| line == "one"), "{screen}");
    assert!(terminal.child.wait().unwrap().success());
    std::fs::remove_file(from).unwrap();
}

/// As one that was stopped with Ctrl-S: nobody reads what it is sent.
#[test]
fn a_terminal_that_takes_nothing_stops_no_work() {
    let to = input("unread", &[]);
    let arguments = ["--publish-rate", "500", "--output", to.to_str().unwrap()];
    let (_unread, mut child) = on_terminal(80, &mut up(&arguments));
    let deadline = Instant::now() + Duration::from_secs(60);
    // each makes a line: several times what a terminal buffers
    while std::fs::read_to_string(&to).unwrap().lines().count() < 2000 {
        assert!(
            Instant::now() < deadline,
            "{} handled",
            std::fs::read_to_string(&to).unwrap().lines().count()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_file(to).unwrap();
}

#[test]
fn the_demo_shows_its_four_scenes_and_ends_well() {
    let terminal = Terminal::start(110, &mut up(&["--demo"]));
    let begun = Instant::now();
    let (screen, code, _) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(
        begun.elapsed() < Duration::from_secs(50),
        "half a minute, and some for a busy machine: {:?}",
        begun.elapsed()
    );
    let mut rest = screen.as_str();
    for part in [
        "1. A retry",
        "↻ retry in",
        "2. A dead letter",
        "✗ dead letter",
        "3. An outage",
        "GET /ready -> 503",
        "GET /health -> 200",
        "SNS and SQS are back",
        "publishing works again",
        "✓ handled",
        "4. A hung consumer",
        "hung consumer: GET /health -> 503",
        "What became of the messages",
        "dead letters                         1",
        "✓ Nothing was lost.",
    ] {
        let (_, after) =
            rest.split_once(part).unwrap_or_else(|| panic!("no {part:?} in its place:\n{screen}"));
        rest = after;
    }
}
