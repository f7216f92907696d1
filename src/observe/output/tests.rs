//! Writers that are slow, stuck or broken, and lines that come through all the same.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const SOON: Duration = Duration::from_secs(30);

/// Keeps what is written; each write waits for a permit until the gate is left open.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes nothing until the other end of its channel is dropped.
struct Stopped {
    gate: Mutex<Receiver<()>>,
    paper: Paper,
}

fn stopped(paper: &Paper) -> (Stopped, Sender<()>) {
    let (open, gate) = channel();
    let gate = Mutex::new(gate);
    let paper = paper.clone();
    (Stopped { gate, paper }, open)
}

impl Write for Stopped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.gate.lock().recv();
        self.paper.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fails as often as told, after taking three bytes each time.
struct Failing {
    failures: Vec<io::ErrorKind>,
    took: bool,
    paper: Paper,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failures.is_empty() {
            return self.paper.write(bytes);
        }
        if !self.took && bytes.len() > 3 {
            self.took = true;
            return self.paper.write(&bytes[..3]);
        }
        self.took = false;
        Err(self.failures.remove(0).into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(buffer: &LineBuffer, line: &str) {
    buffer.write(|out, _| {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    });
}

#[test]
fn lines_of_every_worker_are_written_without_being_asked_for() {
    let paper = Paper::default();
    let (told, written) = channel();
    struct Tells(Paper, Sender<()>);
    impl Write for Tells {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.1.send(()).map_err(io::Error::other)
        }
    }
    let output = Output::start(Tells(paper.clone(), told), Format::Json).unwrap();
    let (one, other) = (output.buffer(), output.buffer());
    write(&one, "one");
    written.recv_timeout(SOON).unwrap();
    write(&other, "other");
    written.recv_timeout(SOON).unwrap();
    assert_eq!(paper.lines(), ["one", "other"]);
}

#[test]
fn closing_writes_what_is_left_and_may_be_repeated() {
    let paper = Paper::default();
    let output = Output::start(paper.clone(), Format::Json).unwrap();
    let buffers: Vec<LineBuffer> = (0..3).map(|_| output.buffer()).collect();
    for line in 0..1000 {
        for buffer in &buffers {
            write(buffer, &format!("{line}"));
        }
    }
    assert!(output.close(SOON));
    assert!(output.close(SOON));
    assert_eq!(paper.lines().len(), 3000);
}

#[test]
fn a_stopped_reader_stops_nobody_and_lines_are_dropped_and_counted() {
    let paper = Paper::default();
    let (writer, open) = stopped(&paper);
    let output = Output::start(writer, Format::Json).unwrap();
    let buffer = output.buffer();
    let line = "x".repeat(1023);
    let many = 3 * BOUND / 1024;
    for _ in 0..many {
        write(&buffer, &line);
    }
    assert!(buffer.lines.lock().bytes.len() <= BOUND + 1024);
    assert!(!output.close(Duration::ZERO), "it cannot be done yet");
    drop(open);
    assert!(output.close(SOON));
    let lines = paper.lines();
    let reports: Vec<serde_json::Value> = lines
        .iter()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let dropped: u64 = reports.iter().filter_map(|report| report["count"].as_u64()).sum();
    assert!(dropped > 0);
    assert_eq!(reports[0]["message"], "log lines dropped");
    assert_eq!(reports[0]["level"], "warn");
    assert_eq!(lines.len() - reports.len() + usize::try_from(dropped).unwrap(), many);
}

#[test]
fn a_broken_pipe_is_not_fatal_and_what_is_missing_is_said() {
    let paper = Paper::default();
    let writer = Failing {
        failures: vec![io::ErrorKind::BrokenPipe],
        took: false,
        paper: paper.clone(),
    };
    let output = Output::start(writer, Format::Text).unwrap();
    let buffer = output.buffer();
    buffer.write(|out, _| out.extend_from_slice(b"first\nsecond\n"));
    assert!(output.close(SOON));
    let lines = paper.lines();
    assert_eq!(lines[0], "fir");
    assert!(
        lines[1].ends_with(" warn log lines dropped count=2 service=gateway"),
        "{lines:?}"
    );
}

#[test]
fn a_writer_that_is_gone_for_good_lets_the_output_close() {
    let writer = Failing {
        failures: vec![io::ErrorKind::BrokenPipe; 1000],
        took: false,
        paper: Paper::default(),
    };
    let output = Output::start(writer, Format::Json).unwrap();
    write(&output.buffer(), "lost");
    assert!(output.close(SOON));
}

#[test]
fn an_interrupted_or_full_writer_is_tried_again() {
    let paper = Paper::default();
    let writer = Failing {
        failures: vec![io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock],
        took: false,
        paper: paper.clone(),
    };
    let output = Output::start(writer, Format::Json).unwrap();
    write(&output.buffer(), "all of it");
    assert!(output.close(SOON));
    assert_eq!(paper.lines(), ["all of it"]);
}

#[test]
fn a_new_format_holds_for_the_next_line() {
    let output = Output::start(io::sink(), Format::Json).unwrap();
    let buffer = output.buffer();
    buffer.write(|_, format| assert_eq!(format, Format::Json));
    output.set_format(Format::Text);
    buffer.write(|_, format| assert_eq!(format, Format::Text));
}
