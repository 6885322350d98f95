//! Length-delimited Protobuf: `kindlog.v1.Resource` messages, each after its length in bytes as a
//! varint, as `writeDelimitedTo` and its like in other languages write them.

use std::io::{BufRead, Read};
use std::time::SystemTime;

use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;

use crate::failure::{Failure, Outcome};
use crate::import::{Entry, MAX_VALUE_LEN, Source};
use crate::resource_proto::Resource;
use crate::wire;

/// The longest message: the largest value, and room for the rest.
const MAX_MESSAGE_LEN: u64 = MAX_VALUE_LEN + (1 << 20);

/// A resource as a message, after its length.
pub(crate) fn message(resource: &kindlog::Resource) -> Vec<u8> {
    let message = Resource {
        kind: String::from(&resource.kind),
        id: String::from(&resource.id),
        data: resource.data.clone(),
        revision: resource.revision.into(),
        updated_at: Some(timestamp(resource.updated_at)),
    };
    message.encode_length_delimited_to_vec()
}

fn timestamp(time: SystemTime) -> Timestamp {
    let micros = crate::time::unix_micros(time);
    let nanos = micros.rem_euclid(1_000_000) as i32 * 1000;
    Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// Reads messages, one at a time.
pub(crate) struct Messages<R> {
    reader: R,
    number: u64,
    /// Where the message being read begins, and where the next one does.
    begin: u64,
    at: u64,
}

impl<R: BufRead> Messages<R> {
    pub(crate) fn new(reader: R) -> Messages<R> {
        Messages { reader, number: 0, begin: 0, at: 0 }
    }

    /// The length before a message; `None` at the end of the input.
    fn length(&mut self) -> Outcome<Option<u64>> {
        let mut prefix = Vec::with_capacity(10);
        for byte in self.reader.by_ref().bytes().take(10) {
            let byte = byte.map_err(|error| Failure::io("reading", error))?;
            prefix.push(byte);
            if byte < 0x80 {
                break;
            }
        }
        if prefix.is_empty() {
            return Ok(None);
        }
        self.at += prefix.len() as u64;
        let (length, _) =
            wire::varint(&prefix).map_err(|reason| bad(format!("its length is {reason}")))?;
        if length > MAX_MESSAGE_LEN {
            return Err(bad(format!("its length, {length} bytes, is more than any resource's")));
        }
        Ok(Some(length))
    }
}

impl<R: BufRead> Source for Messages<R> {
    fn next(&mut self) -> Outcome<Option<Entry>> {
        self.number += 1;
        self.begin = self.at;
        let Some(length) = self.length()? else {
            return Ok(None);
        };
        // It grows as bytes come, so a wrong length can't allocate what isn't there.
        let mut message = Vec::with_capacity(length.min(1 << 20) as usize);
        let read = (&mut self.reader)
            .take(length)
            .read_to_end(&mut message)
            .map_err(|error| Failure::io("reading", error))? as u64;
        self.at += read;
        if read < length {
            return Err(bad(format!("cut short: {read} of {length} bytes")));
        }
        let message = Resource::decode(Bytes::from(message))
            .map_err(|error| bad(format!("no kindlog.v1.Resource: {error}")))?;
        Ok(Some(Entry { kind: message.kind, id: message.id, data: message.data }))
    }

    fn place(&self) -> String {
        format!("message {} at byte {}", self.number, self.begin)
    }
}

fn bad(reason: String) -> Failure {
    Failure::Usage(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Vec<Entry>, String> {
        let mut messages = Messages::new(bytes);
        let mut entries = Vec::new();
        loop {
            match messages.next() {
                Ok(None) => return Ok(entries),
                Ok(Some(entry)) => entries.push(entry),
                Err(failure) => return Err(format!("{}: {failure}", messages.place())),
            }
        }
    }

    fn write(entries: &[Entry]) -> Vec<u8> {
        let message = |entry: &Entry| Resource {
            kind: entry.kind.clone(),
            id: entry.id.clone(),
            data: entry.data.clone(),
            ..Resource::default()
        };
        entries.iter().flat_map(|entry| message(entry).encode_length_delimited_to_vec()).collect()
    }

    fn entry(id: &str, data: &[u8]) -> Entry {
        Entry { kind: "K".into(), id: id.into(), data: data.to_vec().into() }
    }

    #[test]
    fn every_cut_is_the_end_or_an_error_and_nothing_before_it_changes() {
        let entries = [entry("a", b"1"), entry("b", &[7; 300]), entry("c", b"")];
        let bytes = write(&entries);
        let ends: Vec<usize> = (0..=3).map(|count| write(&entries[..count]).len()).collect();
        for len in 0..=bytes.len() {
            let found = read(&bytes[..len]);
            match ends.iter().position(|&end| end == len) {
                Some(whole) => assert_eq!(found.as_deref(), Ok(&entries[..whole])),
                None => assert!(found.is_err(), "{len}"),
            }
        }
    }

    #[test]
    fn errors_name_the_message_and_its_place() {
        let mut bytes = write(&[entry("a", b"1")]);
        let begin = bytes.len();
        bytes.extend([0xff; 11]);
        let error = read(&bytes).expect_err("a bad length");
        assert_eq!(
            error,
            format!("message 2 at byte {begin}: its length is a varint over 64 bits")
        );
        let error = read(b"\x80\x80\x80\x80\x40").expect_err("a huge length");
        assert!(error.contains("more than any resource's"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_entries_or_an_error(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }

        #[test]
        fn messages_read_back(data in prop::collection::vec(any::<Vec<u8>>(), 0..5)) {
            let entries: Vec<Entry> = data.iter().map(|data| entry("x", data)).collect();
            prop_assert_eq!(read(&write(&entries)), Ok(entries));
        }
    }
}
