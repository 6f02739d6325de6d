//! The file of the queue: one JSON object in a line for each event that came, and for each delivery that is done. Lines are only appended;
//! when most of them are of no use any more, the file is written anew and takes the place of the old one.
//!
//! A process that is killed leaves at most its last line unfinished. Such a line is left out, as is any other that does not parse.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A longer line is damage: the largest event has some ten kilobytes.
const LINE_MAX: usize = 1 << 20;
/// A smaller file is not written anew.
const COMPACT_FROM: u64 = 4 << 20;

/// An event of the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) id: String,
    pub(super) room: String,
    /// When it happened, in milliseconds since 1970.
    pub(super) at: u64,
    /// The URLs that do not have it yet, by their keys.
    pub(super) to: Vec<String>,
    pub(super) body: String,
}

impl Stored {
    /// Bytes that it counts for.
    pub(super) fn size(&self) -> usize {
        self.body.len() + self.id.len() + self.room.len() + 64
    }
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    /// An event came.
    Event(u64, Stored),
    /// A URL has it, or will not get it.
    Done(u64, String),
    /// It was dropped.
    Drop(u64),
}

impl Line {
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        // Nothing in it can fail to be written, and a buffer takes everything.
        if serde_json::to_writer(&mut *to, self).is_ok() {
            to.push(b'\n');
        }
    }
}

/// The open file.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    file: File,
    bytes: u64,
    /// Locked as long as the process lives: two processes would send the same events, and spoil each other's file.
    _lock: File,
}

/// What the file says: the events that are not delivered, and the number of lines that could not be read.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) events: BTreeMap<u64, Stored>,
    pub(super) damaged: usize,
}

impl Log {
    /// Opens the directory, which is made if it does not exist, and reads the file in it.
    ///
    /// # Errors
    /// The directory cannot be used, or another process uses it.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Found)> {
        std::fs::create_dir_all(dir)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another process uses this directory")
            }
            std::fs::TryLockError::Error(error) => error,
        })?;
        let path = path(dir);
        let found = match File::open(&path) {
            Ok(file) => read(BufReader::new(file))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::default(),
            Err(error) => return Err(error),
        };
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let log = Self { dir: dir.to_owned(), file, bytes: 0, _lock: lock };
        Ok((log, found))
    }

    /// Appends lines. `sync`: they are on the disk when it returns, and outlive the machine's power.
    pub(super) fn append(&mut self, lines: &[u8], sync: bool) -> io::Result<()> {
        self.file.write_all(lines)?;
        self.bytes += lines.len() as u64;
        if sync { self.file.sync_data() } else { Ok(()) }
    }

    /// Whether most of the file is of no use any more, when `live` bytes of events wait.
    pub(super) fn is_loose(&self, live: usize) -> bool {
        self.bytes > COMPACT_FROM && self.bytes > 3 * live as u64
    }

    /// Writes the file anew, with these events alone.
    pub(super) fn rewrite(&mut self, events: &[(u64, Stored)]) -> io::Result<()> {
        let mut lines = Vec::new();
        for (number, event) in events {
            Line::Event(*number, event.clone()).write(&mut lines);
        }
        let fresh = self.dir.join("queue.new");
        let mut file = File::create(&fresh)?;
        file.write_all(&lines)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path(&self.dir))?;
        // The new name is on the disk when the directory is.
        File::open(&self.dir)?.sync_all()?;
        self.file = OpenOptions::new().append(true).open(path(&self.dir))?;
        self.bytes = lines.len() as u64;
        Ok(())
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("queue.jsonl")
}

fn read(mut from: impl BufRead) -> io::Result<Found> {
    let (mut found, mut line) = (Found::default(), Vec::new());
    loop {
        line.clear();
        let len = io::Read::take(&mut from, LINE_MAX as u64).read_until(b'\n', &mut line)?;
        if len == 0 {
            return Ok(found);
        }
        match line.strip_suffix(b"\n").map(serde_json::from_slice) {
            Some(Ok(Line::Event(number, event))) => {
                found.events.insert(number, event);
            }
            Some(Ok(Line::Done(number, key))) => {
                if let Some(event) = found.events.get_mut(&number) {
                    event.to.retain(|to| *to != key);
                    if event.to.is_empty() {
                        found.events.remove(&number);
                    }
                }
            }
            Some(Ok(Line::Drop(number))) => {
                found.events.remove(&number);
            }
            Some(Err(_)) | None => found.damaged += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, to: &[&str]) -> Stored {
        let to = to.iter().map(|&to| to.to_owned()).collect();
        Stored { id: id.into(), room: "r".into(), at: 5, to, body: "{\"a\":\"\\n\"}".into() }
    }

    fn lines(lines: &[Line]) -> Vec<u8> {
        let mut text = Vec::new();
        lines.iter().for_each(|line| line.write(&mut text));
        text
    }

    #[test]
    fn what_is_not_done_is_found_again() {
        let text = lines(&[
            Line::Event(1, event("one", &["a", "b"])),
            Line::Event(2, event("two", &["a"])),
            Line::Event(3, event("three", &["a"])),
            Line::Done(1, "a".into()),
            Line::Done(2, "a".into()),
            Line::Drop(3),
        ]);
        let found = read(&text[..]).unwrap();
        assert_eq!((found.events.len(), found.damaged), (1, 0));
        assert_eq!(
            (found.events[&1].to.as_slice(), found.events[&1].body.as_str()),
            (&["b".to_owned()][..], "{\"a\":\"\\n\"}")
        );
    }

    #[test]
    fn a_file_that_was_cut_anywhere_gives_the_lines_that_are_whole() {
        let all = [Line::Event(1, event("one", &["a"])), Line::Event(2, event("two", &["a"]))];
        let (text, first) = (lines(&all), lines(&all[..1]).len());
        for cut in 0..text.len() {
            let found = read(&text[..cut]).unwrap();
            assert_eq!(found.events.len(), usize::from(cut >= first), "cut at {cut}");
            assert_eq!(found.damaged, usize::from(cut != 0 && cut != first), "cut at {cut}");
        }
        let mut torn = text[..first - 7].to_vec();
        torn.push(b'\n');
        torn.extend(&text[first..]);
        torn.extend([0xff, b'\n', b'{', b'}', b'\n']);
        let found = read(&torn[..]).unwrap();
        assert_eq!((found.events.len(), found.damaged), (1, 3));
        let long = vec![b'x'; 3 * LINE_MAX];
        assert!(read(&long[..]).unwrap().damaged <= 4);
    }
}
