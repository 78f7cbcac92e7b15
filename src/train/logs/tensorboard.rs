//! TensorBoard's event files: records of TFRecord, each an `Event` of protocol buffers. The three messages are written by hand:
//! `prost` brings a compiler of them into the build, and no kept crate writes the files alone.

use super::now;
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// An event file that grows.
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file in `folder`, with settings by key. It makes TensorBoard forget what earlier ones have after `step`; a training
    /// that begins removes these.
    pub fn open(folder: &Path, step: u64, settings: &[(String, String)]) -> Result<EventFile> {
        if step == 0 && folder.is_dir() {
            fs::remove_dir_all(folder).map_err(Error::io(folder, "replace"))?;
        }
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        let path = folder.join(format!("events.out.tfevents.{:010}.wgrec.{}", now().as_secs(), std::process::id()));
        let file = File::create(&path).map_err(Error::io(&path, "create"))?;
        let mut events = EventFile { path, file };
        let row = |(key, value): &(String, String)| format!("| {key} | {} |\n", value.replace('|', "\\|"));
        let table = "| setting | value |\n|---|---|\n".to_string() + &settings.iter().map(row).collect::<String>();
        let settings = Summary::text("settings", &table);
        events.write(&[Event::version("brain.Event:2"), Event::restarted(step), Event::of(step, &[settings])])?;
        Ok(events)
    }

    pub fn add(&mut self, step: u64, scalars: &[(String, f64)]) -> Result<()> {
        let values: Vec<Summary> = scalars.iter().map(|(name, x)| Summary::scalar(name, *x as f32)).collect();
        self.write(&[Event::of(step, &values)])
    }

    fn write(&mut self, events: &[Event]) -> Result<()> {
        let seconds = now().as_secs_f64();
        let bytes: Vec<u8> = events.iter().flat_map(|event| record(&event.at(seconds))).collect();
        self.file.write_all(&bytes).map_err(Error::io(&self.path, "write"))
    }
}

/// Fields of a message.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(mut self, field: u32, wire: u32) -> Message {
        self.0.push((field << 3 | wire) as u8);
        self
    }

    /// A number by its bits, seven at a time, the lowest first.
    fn number(mut self, mut value: u64) -> Message {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn varint(self, field: u32, value: u64) -> Message {
        self.key(field, 0).number(value)
    }

    fn double(mut self, field: u32, value: f64) -> Message {
        self = self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u32, value: f32) -> Message {
        self = self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(self, field: u32, value: &[u8]) -> Message {
        let mut all = self.key(field, 2).number(value.len() as u64);
        all.0.extend(value);
        all
    }
}

/// An `Event` without its time: step 2, file_version 3, summary 5, session_log 7.
struct Event(Message);

impl Event {
    fn version(version: &str) -> Event {
        Event(Message::default().bytes(3, version.as_bytes()))
    }

    /// A `SessionLog` of status START: events of this step and later ones in earlier files do not count.
    fn restarted(step: u64) -> Event {
        Event(Message::default().varint(2, step + 1).bytes(7, &Message::default().varint(1, 1).0))
    }

    fn of(step: u64, values: &[Summary]) -> Event {
        let summary = values.iter().fold(Message::default(), |summary, value| summary.bytes(1, &value.0.0));
        Event(Message::default().varint(2, step).bytes(5, &summary.0))
    }

    /// Its bytes, with wall_time 1.
    fn at(&self, seconds: f64) -> Vec<u8> {
        let mut all = Message::default().double(1, seconds);
        all.0.extend(&self.0.0);
        all.0
    }
}

/// A `Summary.Value`: tag 1, simple_value 2, tensor 8, metadata 9.
struct Summary(Message);

impl Summary {
    fn scalar(tag: &str, value: f32) -> Summary {
        Summary(Message::default().bytes(1, tag.as_bytes()).float(2, value))
    }

    /// A `TensorProto` of one string (dtype 1 = DT_STRING, string_val 8), of the plugin `text`.
    fn text(tag: &str, text: &str) -> Summary {
        const DT_STRING: u64 = 7;
        let tensor = Message::default().varint(1, DT_STRING).bytes(2, &[]).bytes(8, text.as_bytes());
        let plugin = Message::default().bytes(1, b"text");
        let metadata = Message::default().bytes(1, &plugin.0);
        Summary(Message::default().bytes(1, tag.as_bytes()).bytes(8, &tensor.0).bytes(9, &metadata.0))
    }
}

/// A record of TFRecord: length, its checksum, the bytes, theirs.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut all = length.to_vec();
    all.extend(masked(crc32c(&length)).to_le_bytes());
    all.extend(bytes);
    all.extend(masked(crc32c(bytes)).to_le_bytes());
    all
}

/// A checksum as TFRecord stores it.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// CRC-32C (Castagnoli), bit by bit: an event has some hundred bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ byte as u32, bit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the catalogue of CRCs (Koopman), and those of RFC 3720, B.4.
    #[test]
    fn checksums() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
    }

    /// As TensorFlow's own classes write it (protobuf 7, tensorboard 2.21: see experiments/logs/read.py).
    #[test]
    fn events_are_those_of_tensorboard() {
        let event = Event::of(300, &[Summary::scalar("loss", 0.25)]).at(1.5);
        let want = b"\x09\0\0\0\0\0\0\xf8\x3f\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\x80\x3e";
        assert_eq!(event, want);
        let event = Event::of(0, &[Summary::text("a", "b")]).at(0.0);
        let want = b"\x09\0\0\0\0\0\0\0\0\x10\0\x2a\x18\x0a\x16\x0a\x01a\x42\x07\x08\x07\x12\0\x42\x01b\x4a\x08\x0a\x06\x0a\x04text";
        assert_eq!(event, want);
        let event = Event::restarted(7).at(0.0);
        assert_eq!(event, b"\x09\0\0\0\0\0\0\0\0\x10\x08\x3a\x02\x08\x01");
    }
}
