//! A value as a person reads it: like `protoc --decode_raw`, with the guesses marked as such.
//! Whatever is no Protobuf, from the byte where it stops being it, is a hex dump.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use crate::output::{Styles, count, counted, is_hidden};
use crate::time::rfc3339;
use crate::wire::{self, Field, Fields, Guess, MAX_DEPTH, Value};

/// How many bytes of one field, and of a hex dump, are shown unless all are asked for.
const SHOWN_BYTES: usize = 64;
const SHOWN_DUMP_BYTES: usize = 256;

/// Prints values to `out`.
pub(crate) struct Printer<'o> {
    pub(crate) out: &'o mut dyn Write,
    pub(crate) styles: Styles,
    /// Whether long bytes are shown to their end.
    pub(crate) full: bool,
}

impl Printer<'_> {
    /// Prints a whole value, whatever it is. Fails only where writing does.
    pub(crate) fn value(&mut self, data: &[u8]) -> io::Result<()> {
        let Err(invalid) = wire::check(data) else {
            return self.fields(data, 0);
        };
        if let Some(text) = wire::text(data) {
            self.comment(&format!("no Protobuf: text of {}", bytes(data.len())))?;
            let quoted = quote(text);
            return writeln!(self.out, "{}", self.string(&quoted));
        }
        self.fields(&data[..invalid.sound_len], 0)?;
        let rest = &data[invalid.sound_len..];
        self.comment(&format!(
            "no Protobuf from byte {}: {} at byte {}; {} left",
            invalid.sound_len,
            invalid.reason,
            invalid.offset,
            bytes(rest.len())
        ))?;
        self.dump(rest, invalid.sound_len)
    }

    /// Prints the fields of bytes that passed [`wire::check`].
    fn fields(&mut self, data: &[u8], depth: usize) -> io::Result<()> {
        let mut groups = 0;
        for field in Fields::new(data).map_while(Result::ok) {
            match field.value {
                Value::StartGroup => {
                    self.head(field.number, depth + groups)?;
                    let faint = self.styles.faint;
                    writeln!(self.out, "{{  {faint}# group{faint:#}")?;
                    groups += 1;
                }
                Value::EndGroup => {
                    groups = groups.saturating_sub(1);
                    self.indent(depth + groups)?;
                    self.out.write_all(b"}\n")?;
                }
                _ => self.field(field, depth + groups)?,
            }
        }
        Ok(())
    }

    fn field(&mut self, field: Field<'_>, depth: usize) -> io::Result<()> {
        self.head(field.number, depth)?;
        match field.value {
            Value::Varint(number) => match number as i64 {
                negative @ ..0 => self.noted(&number.to_string(), &format!("int64 {negative}")),
                _ => writeln!(self.out, "{number}"),
            },
            Value::Fixed64(bits) => self.noted(&format!("0x{bits:016x}"), &note_fixed64(bits)),
            Value::Fixed32(bits) => self.noted(&format!("0x{bits:08x}"), &note_fixed32(bits)),
            Value::Len(data) => self.delimited(data, depth),
            Value::StartGroup | Value::EndGroup => Ok(()),
        }
    }

    fn delimited(&mut self, data: &[u8], depth: usize) -> io::Result<()> {
        match wire::guess(data) {
            Guess::Text(text) => {
                let quoted = quote(text);
                writeln!(self.out, "{}", self.string(&quoted))
            }
            Guess::Message if depth + 1 < MAX_DEPTH => {
                match wire::timestamp(data) {
                    None => self.out.write_all(b"{\n")?,
                    Some((seconds, nanos)) => {
                        let time = UNIX_EPOCH + Duration::new(seconds, nanos);
                        self.noted("{", &format!("a time? {}", rfc3339(time)))?;
                    }
                }
                self.fields(data, depth + 1)?;
                self.indent(depth)?;
                self.out.write_all(b"}\n")
            }
            Guess::Message => self.noted(&self.hex(data), "nested deeper than is followed"),
            Guess::Bytes => match wire::packed(data) {
                None => writeln!(self.out, "{}", self.hex(data)),
                Some(numbers) => {
                    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
                    self.noted(&self.hex(data), &format!("packed? {}", numbers.join(", ")))
                }
            },
        }
    }

    /// `indent` and `NUMBER: `.
    fn head(&mut self, number: u32, depth: usize) -> io::Result<()> {
        self.indent(depth)?;
        let name = self.styles.name;
        write!(self.out, "{name}{number}{name:#}: ")
    }

    fn indent(&mut self, depth: usize) -> io::Result<()> {
        (0..depth).try_for_each(|_| self.out.write_all(b"  "))
    }

    fn string(&self, quoted: &str) -> String {
        let style = self.styles.string;
        format!("{style}{quoted}{style:#}")
    }

    fn comment(&mut self, text: &str) -> io::Result<()> {
        let faint = self.styles.faint;
        writeln!(self.out, "{faint}# {text}{faint:#}")
    }

    fn noted(&mut self, value: &str, note: &str) -> io::Result<()> {
        let faint = self.styles.faint;
        writeln!(self.out, "{value}  {faint}# {note}{faint:#}")
    }

    /// `3 bytes 0a0b0c`.
    fn hex(&self, data: &[u8]) -> String {
        let shown = if self.full { data.len() } else { data.len().min(SHOWN_BYTES) };
        let mut hex = format!("{} ", bytes(data.len()));
        for byte in &data[..shown] {
            write!(hex, "{byte:02x}").expect("to memory");
        }
        if shown < data.len() {
            write!(hex, "… +{}", count((data.len() - shown) as u64)).expect("to memory");
        }
        hex
    }

    /// Sixteen bytes a line, each with its offset in the value.
    fn dump(&mut self, data: &[u8], offset: usize) -> io::Result<()> {
        let shown = if self.full { data.len() } else { data.len().min(SHOWN_DUMP_BYTES) };
        for (line, chunk) in data[..shown].chunks(16).enumerate() {
            let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            let printable = |&byte: &u8| match byte {
                b' '..=b'~' => char::from(byte),
                _ => '.',
            };
            let ascii: String = chunk.iter().map(printable).collect();
            let at = offset + line * 16;
            writeln!(self.out, "{at:08x}  {:<47}  |{ascii}|", hex.join(" "))?;
        }
        if shown < data.len() {
            let left = bytes(data.len() - shown);
            self.comment(&format!("{left} more: --full shows them, -o raw writes them"))?;
        }
        Ok(())
    }
}

fn bytes(len: usize) -> String {
    counted(len as u64, "byte")
}

/// The text in double quotes, everything that a terminal would act on escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' | '\n' | '\r' | '\t' => quoted.extend(c.escape_default()),
            c if is_hidden(c) => quoted.extend(c.escape_unicode()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A number as people write one; other bit patterns are rather an integer or a hash.
fn is_plain(number: f64) -> bool {
    (1e-9..1e15).contains(&number.abs())
}

fn note_fixed64(bits: u64) -> String {
    let double = f64::from_bits(bits);
    match bits as i64 {
        _ if is_plain(double) => format!("fixed64: double {double}"),
        negative @ ..0 => format!("fixed64: {bits}, or {negative}"),
        _ => format!("fixed64: {bits}"),
    }
}

fn note_fixed32(bits: u32) -> String {
    let float = f32::from_bits(bits);
    match bits as i32 {
        _ if is_plain(f64::from(float)) => format!("fixed32: float {float}, or {bits}"),
        negative @ ..0 => format!("fixed32: {bits}, or {negative}"),
        _ => format!("fixed32: {bits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(data: &[u8]) -> String {
        let mut out = Vec::new();
        let mut printer = Printer { out: &mut out, styles: Styles::default(), full: false };
        printer.value(data).expect("to memory");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn each_wire_type_is_shown_for_what_it_is() {
        assert_eq!(printed(b"\x08\x96\x01"), "1: 150\n");
        assert_eq!(printed(b"\x12\x05a\"b\\c"), "2: \"a\\\"b\\\\c\"\n");
        assert_eq!(printed(b"\x1a\x02\x08\x01"), "3: {\n  1: 1\n}\n");
        assert_eq!(printed(b"\x22\x00"), "4: \"\"\n");
        assert_eq!(
            printed(b"\x2a\x04\x0a\x00\x14\x01"),
            "5: 4 bytes 0a001401  # packed? 10, 0, 20, 1\n"
        );
        assert_eq!(
            printed(b"\x2d\x00\x00\xc0\x3f"),
            "5: 0x3fc00000  # fixed32: float 1.5, or 1069547520\n"
        );
        assert_eq!(printed(b"\x33\x08\x01\x34"), "6: {  # group\n  1: 1\n}\n");
        assert_eq!(
            printed(b"\x39\x00\x00\x00\x00\x00\x00\xf8\x3f"),
            "7: 0x3ff8000000000000  # fixed64: double 1.5\n"
        );
        assert_eq!(
            printed(b"\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            "8: 18446744073709551615  # int64 -1\n"
        );
        assert_eq!(printed(b""), "");
    }

    #[test]
    fn what_is_no_protobuf_is_dumped_from_where_it_stops() {
        assert_eq!(
            printed(b"\x08\x01\x07\xff"),
            "1: 1\n# no Protobuf from byte 2: field number 0 at byte 2; 2 bytes left\n\
             00000002  07 ff                                            |..|\n"
        );
        assert!(printed(b"\x08\x01\x33\x08\x01").contains("from byte 2: a group that never ends"));
        assert!(printed(b"\x0c\xff").contains("a group that is not open"));
        assert_eq!(printed(b"hello\n"), "# no Protobuf: text of 6 bytes\n\"hello\\n\"\n");
    }

    #[test]
    fn messages_of_text_are_told_from_text() {
        let uuid = "0b5c2f6e-8a58-4b8e-9a39-2e4f5f6a7b8c";
        let message = format!("\x22{}{uuid}", char::from(uuid.len() as u8));
        assert_eq!(wire::guess(message.as_bytes()), Guess::Message);
        for word in ["pq", "b", "", "aXXXXXXXX", " Comments begin with a space.\n", "it's\ttabbed"]
        {
            assert_eq!(wire::guess(word.as_bytes()), Guess::Text(word));
        }
    }

    #[test]
    fn deep_nesting_ends() {
        let mut data = vec![8, 1];
        for _ in 0..2000 {
            let mut outer = vec![0x0a];
            let mut len = data.len();
            while len >= 0x80 {
                outer.push(len as u8 | 0x80);
                len >>= 7;
            }
            outer.push(len as u8);
            outer.extend(data);
            data = outer;
        }
        assert!(printed(&data).contains("nested deeper than is followed"));
        assert!(printed(&[0x0b; 5000]).contains("groups nested deeper than 32"));
    }

    fn bytes_up_to(len_max: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..=len_max)
    }

    proptest! {
        #[test]
        fn any_bytes_print_without_control_characters(data: Vec<u8>) {
            let text = printed(&data);
            prop_assert!(!text.chars().any(|c| is_hidden(c) && c != '\n'));
        }

        #[test]
        fn any_fields_print_to_the_end(
            fields in prop::collection::vec((1_u8..16, bytes_up_to(40)), 0..20)
        ) {
            let mut data = Vec::new();
            for (number, payload) in &fields {
                data.push(number << 3 | 2);
                data.push(payload.len() as u8);
                data.extend(payload);
            }
            let text = printed(&data);
            prop_assert!(!text.contains("no Protobuf"));
            let top = text.lines().filter(|line| !line.starts_with([' ', '}'])).count();
            prop_assert_eq!(top, fields.len());
        }
    }
}
