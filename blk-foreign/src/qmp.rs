//! QEMU's machine protocol: commands and replies, a JSON object a line each, over a Unix socket, or in
//! datagrams. From a socket QEMU takes commands byte by byte, five system calls each: more work than all that
//! it does for an image. A datagram it takes whole.

mod channel;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use channel::{Channel, is_late};

pub(crate) use channel::Port;

/// How long a command may take.
const ANSWER_TIME: Duration = Duration::from_secs(20);
/// How long a greeting may take. Who connects while QEMU is about to listen is now and then forgotten:
/// whoever waits for the program tries again.
const GREETING_TIME: Duration = Duration::from_secs(1);
/// Events that are kept until somebody waits for them.
const EVENTS_MAX: usize = 256;
/// The longest line that is read, bytes.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Why a command was not done.
#[derive(Debug)]
pub(crate) enum QmpError {
    /// The program says that it cannot.
    Refused(String),
    /// It says nothing any more, or nothing that could be understood.
    Gone(String),
}

impl fmt::Display for QmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) | Self::Gone(why) => f.write_str(why),
        }
    }
}

impl From<io::Error> for QmpError {
    fn from(error: io::Error) -> Self {
        let late = || format!("it has not answered a command for {} s", ANSWER_TIME.as_secs());
        Self::Gone(if is_late(&error) { late() } else { format!("the control channel: {error}") })
    }
}

/// A control channel.
#[derive(Debug)]
pub(crate) struct Qmp {
    channel: Channel,
    /// What has come and was not looked at.
    received: Vec<u8>,
    events: VecDeque<Value>,
    /// Commands that were done.
    accepted: u64,
}

impl Qmp {
    /// Connects, and agrees on capabilities: none.
    pub(crate) fn connect(path: &Path) -> Result<Self, QmpError> {
        Self::begin(Channel::connect(path)?, Vec::new())
    }

    /// Waits a little for the greeting of a process on our port, and agrees likewise.
    pub(crate) fn accept(port: &Port, process: u32) -> Result<Self, QmpError> {
        let is_greeting = |bytes: &[u8]| serde_json::from_slice(bytes).is_ok_and(|value| greets(&value));
        let (channel, received) = port.accept(process, is_greeting)?;
        Self::begin(channel, received)
    }

    fn begin(channel: Channel, received: Vec<u8>) -> Result<Self, QmpError> {
        let mut qmp = Self { channel, received, events: VecDeque::new(), accepted: 0 };
        let greeting = qmp.line(Instant::now() + GREETING_TIME)?;
        if !greets(&greeting) {
            return Err(QmpError::Gone(format!("no machine protocol is spoken there: {greeting}")));
        }
        qmp.execute(&[("qmp_capabilities", Map::new())])?;
        Ok(qmp)
    }

    /// Has commands executed one after the other; all of them are sent at once. The first that is refused
    /// decides.
    pub(crate) fn execute(&mut self, commands: &[(&str, Map<String, Value>)]) -> Result<(), QmpError> {
        let mut lines = Vec::new();
        for (command, arguments) in commands {
            // In as few bytes as can be: QEMU takes them one by one.
            let line = json!({"execute": command, "arguments": arguments});
            lines.extend_from_slice(line.to_string().as_bytes());
            lines.push(b'\n');
        }
        self.channel.send(&lines, ANSWER_TIME)?;
        let mut refused = None;
        for (command, _) in commands {
            if let Err(error) = self.reply(command) {
                match error {
                    QmpError::Refused(_) => drop(refused.get_or_insert(error)),
                    QmpError::Gone(_) => return Err(error),
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// How many commands were done so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Waits for an event whose `id` is this.
    pub(crate) fn wait_for(&mut self, event: &str, id: &Value) -> Result<(), QmpError> {
        let is_it = |value: &Value| value["event"] == event && value["data"]["id"] == *id;
        if let Some(place) = self.events.iter().position(is_it) {
            self.events.remove(place);
            return Ok(());
        }
        let end = Instant::now() + ANSWER_TIME;
        loop {
            let value = self.line(end)?;
            if is_it(&value) {
                return Ok(());
            }
            // No command waits for a reply.
            self.keep(value);
        }
    }

    /// The reply to a command: they come in order.
    fn reply(&mut self, command: &str) -> Result<(), QmpError> {
        let end = Instant::now() + ANSWER_TIME;
        loop {
            let value = self.line(end)?;
            if value.get("event").is_some() {
                self.keep(value);
            } else if let Some(error) = value.get("error") {
                let why = error["desc"].as_str().unwrap_or("for no reason");
                return Err(QmpError::Refused(format!("{command}: {why}")));
            } else {
                self.accepted += 1;
                return Ok(());
            }
        }
    }

    fn keep(&mut self, value: Value) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(value);
    }

    fn line(&mut self, end: Instant) -> Result<Value, QmpError> {
        let mut looked = 0;
        loop {
            if let Some(at) = self.received[looked..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=looked + at).collect();
                let value = serde_json::from_slice(&line);
                return value.map_err(|error| QmpError::Gone(format!("no JSON: {error}")));
            }
            looked = self.received.len();
            if looked > LINE_BYTES_MAX {
                return Err(QmpError::Gone(format!("a line of more than {LINE_BYTES_MAX} bytes")));
            }
            if !self.channel.receive(end, &mut self.received)? {
                return Err(QmpError::Gone("the control channel was closed".to_owned()));
            }
        }
    }
}

/// Whether the program is greeting.
fn greets(value: &Value) -> bool {
    value.get("QMP").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::UdpSocket;
    use std::os::unix::net::UnixListener;
    use std::process::{Child, Command, Stdio};

    /// A program that answers each line with the lines that belong to it.
    fn program(
        folder: &Path,
        greeting: &'static str,
        answers: &'static [&'static str],
    ) -> std::path::PathBuf {
        let path = folder.join("control");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut input = BufReader::new(stream.try_clone().unwrap());
            writeln!(stream, "{greeting}").unwrap();
            for answer in answers {
                let mut line = String::new();
                input.read_line(&mut line).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        path
    }

    #[test]
    fn replies_belong_to_commands_and_events_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = program(
            folder.path(),
            r#"{"QMP": {}}"#,
            &[
                "{\"return\": {}, \"id\": 0}\n",
                "{\"event\": \"GONE\", \"data\": {\"id\": \"e1\"}}\n{\"return\": {}, \"id\": 1}\n",
                "{\"error\": {\"desc\": \"busy\"}, \"id\": 2}\n",
            ],
        );
        let mut qmp = Qmp::connect(&path).unwrap();
        let refused = qmp.execute(&[("one", Map::new()), ("two", Map::new())]).unwrap_err();
        assert!(matches!(&refused, QmpError::Refused(why) if why == "two: busy"), "{refused}");
        qmp.wait_for("GONE", &json!("e1")).unwrap();
        let gone = qmp.execute(&[("three", Map::new())]).unwrap_err();
        assert!(matches!(gone, QmpError::Gone(_)), "{gone}");
    }

    /// A process that does nothing.
    fn idle() -> Child {
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    #[test]
    fn datagrams_are_lines_and_an_end_is_noticed_at_once() {
        let (port, mut process) = (Port::bind().unwrap(), idle());
        assert!(Qmp::accept(&port, process.id()).is_err(), "nobody has greeted yet");
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        theirs.connect(("127.0.0.1", port.number().unwrap())).unwrap();
        theirs.send(b"hello").unwrap();
        assert!(Qmp::accept(&port, process.id()).is_err(), "that is no greeting");
        theirs.send(b"{\"QMP\": {}}\r\n").unwrap();
        // It is queued before the socket is connected to the program, and must not be taken for its answer.
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let is_error = b"{\"error\": {}}\n";
        stranger.send_to(is_error, ("127.0.0.1", port.number().unwrap())).unwrap();
        theirs
            .send(b"{\"return\": {}}\r\n{\"event\": \"GONE\", \"data\": {\"id\": \"e1\"}}\r\n{\"ret")
            .unwrap();
        theirs.send(b"urn\": {}}\r\n").unwrap();
        let mut qmp = Qmp::accept(&port, process.id()).unwrap();
        stranger.send_to(is_error, ("127.0.0.1", port.number().unwrap())).unwrap();
        let long: Map<String, Value> = [("text".to_owned(), "x".repeat(5000).into())].into_iter().collect();
        qmp.execute(&[("one", long)]).unwrap();
        qmp.wait_for("GONE", &json!("e1")).unwrap();
        let mut sent = Vec::new();
        while sent.len() < 5000 || !sent.ends_with(b"\n") {
            let mut piece = [0; 9000];
            let count = theirs.recv(&mut piece).unwrap();
            assert!(count <= 4096, "QEMU takes no more at once");
            sent.extend_from_slice(&piece[..count]);
        }
        process.kill().unwrap();
        let begun = Instant::now();
        let gone = qmp.execute(&[("two", Map::new())]).unwrap_err();
        assert!(matches!(&gone, QmpError::Gone(why) if why.contains("closed")), "{gone}");
        assert!(begun.elapsed() < ANSWER_TIME / 2);
        process.wait().unwrap();
    }

    #[test]
    fn what_is_no_machine_protocol_is_noticed() {
        for greeting in [r#"{"hello": 1}"#, "SSH-2.0"] {
            let folder = tempfile::tempdir().unwrap();
            let path = program(folder.path(), greeting, &[]);
            assert!(matches!(Qmp::connect(&path), Err(QmpError::Gone(_))));
        }
    }
}
