//! The Protobuf wire format, read without a schema: fields as they stand, and whether bytes can be
//! a message at all. Pure, allocates nothing to speak of, and takes any bytes.

/// How deep messages and groups are followed into each other.
pub(crate) const MAX_DEPTH: usize = 32;

const MAX_FIELD_NUMBER: u64 = (1 << 29) - 1;

/// What a field holds, as far as the wire format tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// A string, bytes, a message, or packed numbers: the wire format does not say which.
    Len(&'a [u8]),
    StartGroup,
    EndGroup,
}

/// One field, or one end of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
    /// Where its tag begins.
    pub(crate) offset: usize,
}

/// Where and why bytes stop being a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// Up to here they are whole fields and closed groups.
    pub(crate) sound_len: usize,
    /// The field that is wrong.
    pub(crate) offset: usize,
    pub(crate) reason: &'static str,
}

/// The fields of a message, in order; after an error no more.
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes, at: 0 }
    }

    fn field(&mut self) -> Result<Field<'a>, &'static str> {
        let offset = self.at;
        let tag = self.varint()?;
        let number = match tag >> 3 {
            0 => return Err("field number 0"),
            number if number > MAX_FIELD_NUMBER => return Err("a field number over 2^29-1"),
            number => number as u32,
        };
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).map_err(|_| "a length past the end")?;
                Value::Len(self.take(len).ok_or("a length past the end")?)
            }
            3 => Value::StartGroup,
            4 => Value::EndGroup,
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err("a wire type that does not exist"),
        };
        Ok(Field { number, value, offset })
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let (value, len) = varint(&self.bytes[self.at..])?;
        self.at += len;
        Ok(value)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let bytes = self.take(N).ok_or("a number cut short")?;
        Ok(bytes.try_into().expect("as many as were taken"))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes[self.at..].get(..len)?;
        self.at += len;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, (usize, &'static str)>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.at;
        if offset == self.bytes.len() {
            return None;
        }
        Some(self.field().map_err(|reason| {
            self.at = self.bytes.len();
            (offset, reason)
        }))
    }
}

/// The varint at the beginning of `bytes`, and how many bytes it takes.
pub(crate) fn varint(bytes: &[u8]) -> Result<(u64, usize), &'static str> {
    let mut value = 0_u64;
    for (at, &byte) in bytes.iter().take(10).enumerate() {
        if at == 9 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Ok((value, at + 1));
        }
    }
    Err(if bytes.len() < 10 { "a varint cut short" } else { "a varint over 64 bits" })
}

/// Whether all of `bytes` is fields and closed groups. What length-delimited fields hold is not
/// looked into.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Invalid> {
    // The open groups: each one's number, and where it starts.
    let mut open = [(0_u32, 0_usize); MAX_DEPTH];
    let mut depth = 0;
    for field in Fields::new(bytes) {
        let (offset, reason) = match field {
            Err(invalid) => invalid,
            Ok(Field { value: Value::StartGroup, offset, .. }) if depth == MAX_DEPTH => {
                (offset, "groups nested deeper than 32")
            }
            Ok(Field { value: Value::StartGroup, number, offset }) => {
                open[depth] = (number, offset);
                depth += 1;
                continue;
            }
            Ok(Field { value: Value::EndGroup, number, offset }) => {
                if depth > 0 && open[depth - 1].0 == number {
                    depth -= 1;
                    continue;
                }
                (offset, "the end of a group that is not open")
            }
            Ok(_) => continue,
        };
        let sound_len = if depth > 0 { open[0].1 } else { offset };
        return Err(Invalid { sound_len, offset, reason });
    }
    if depth > 0 {
        let offset = open[depth - 1].1;
        return Err(Invalid { sound_len: open[0].1, offset, reason: "a group that never ends" });
    }
    Ok(())
}

/// What the bytes of a length-delimited field most likely are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guess<'a> {
    Text(&'a str),
    Message,
    Bytes,
}

/// Guesses. Text wins over a message, unless the text could hardly be anyone's words: many a short
/// word is a well-formed message too.
pub(crate) fn guess(bytes: &[u8]) -> Guess<'_> {
    if let Some(text) = text(bytes) {
        let like_words = bytes.first().is_none_or(|&b| b.is_ascii_alphanumeric() || b == b' ');
        if like_words || !holds_only_text(bytes) {
            return Guess::Text(text);
        }
        return Guess::Message;
    }
    if check(bytes).is_ok() { Guess::Message } else { Guess::Bytes }
}

/// The bytes as text, if they are UTF-8 without control characters other than those of logs.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let allowed = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{1b}');
    text.chars().all(allowed).then_some(text)
}

/// Whether the bytes are a message of nothing but non-empty text.
fn holds_only_text(bytes: &[u8]) -> bool {
    Fields::new(bytes).all(|field| match field {
        Ok(Field { value: Value::Len(inner), .. }) => !inner.is_empty() && text(inner).is_some(),
        _ => false,
    })
}

/// The numbers in `bytes` if they may well be packed varints: at least two, all small, none longer
/// than it need be, nothing left over. Never certain.
pub(crate) fn packed(bytes: &[u8]) -> Option<Vec<u64>> {
    if bytes.len() > 64 {
        return None;
    }
    let mut numbers = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (number, len) = varint(rest).ok()?;
        if len > 2 || (len == 2 && number < 0x80) {
            return None;
        }
        numbers.push(number);
        rest = &rest[len..];
    }
    (numbers.len() >= 2).then_some(numbers)
}

/// Seconds and nanoseconds, if the bytes look like a `google.protobuf.Timestamp` between 2000 and
/// 2100. Never certain.
pub(crate) fn timestamp(bytes: &[u8]) -> Option<(u64, u32)> {
    let mut fields = Fields::new(bytes);
    let seconds = match fields.next()?.ok()? {
        Field { number: 1, value: Value::Varint(seconds), .. } => seconds,
        _ => return None,
    };
    let nanos = match fields.next() {
        None => 0,
        Some(Ok(Field { number: 2, value: Value::Varint(nanos), .. })) => {
            u32::try_from(nanos).ok().filter(|&nanos| nanos < 1_000_000_000)?
        }
        Some(_) => return None,
    };
    let plausible = (946_684_800..4_102_444_800).contains(&seconds);
    (plausible && fields.next().is_none()).then_some((seconds, nanos))
}
