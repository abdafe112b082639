//! What a pack unpacks to, read as it comes and before libgit2 has it.
//!
//! Of a pack, bytes say little: half a megabyte may be a file of 450 MB, and where another is packed as its difference
//! libgit2 holds both at once. Whoever may push to a branch that a Rollout names writes such packs. So each object's size is
//! read from its own header, a difference's also from the two sizes that it begins with, and what is too large ends the work.
//!
//! Guarantees: nothing is handed on that was not looked at; what is looked at takes no more memory than one window of
//! zlib. Caveat: everything is inflated twice, here and by libgit2.
//!
//! Source: gitformat-pack(5), gitprotocol-common(5), gitprotocol-pack(5).

use flate2::{Decompress, FlushDecompress, Status};

/// The largest object, in bytes: libgit2 holds three of that size for a difference.
pub(super) const LARGEST: u64 = 32 << 20;
/// The most objects of one pack: libgit2 holds about 200 bytes of each.
pub(super) const MOST: u32 = 500_000;

/// What a pack begins with.
const MAGIC: &[u8; 4] = b"PACK";
/// The channel of a packet that pack data has.
const DATA: u8 = 1;
/// A difference begins with two numbers of ten bytes at most.
const SIZES: usize = 20;

/// Why a pack goes no further.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// An object of so many bytes.
    Large(u64),
    /// So many objects.
    Many(u32),
    /// It is none, or of a protocol that libgit2 does not speak either.
    Broken(&'static str),
}

/// Looks at what a server sends: packets, and the pack in them.
#[derive(Default)]
pub(super) struct Inspector {
    at: At,
    pack: Pack,
}

/// Where in the packets.
enum At {
    /// In a packet's length, four hexadecimal digits.
    Length(Vec<u8>),
    /// Before the first byte of one with so many.
    Channel(usize),
    /// So many bytes before its end; whether they are pack data.
    Rest(usize, bool),
    /// In a pack without packets, from a server that does not speak of channels.
    Bare,
}

impl Default for At {
    fn default() -> Self {
        Self::Length(Vec::new())
    }
}

impl Inspector {
    /// Looks at the next bytes.
    pub fn look(&mut self, mut bytes: &[u8]) -> Result<(), Problem> {
        while !bytes.is_empty() {
            let used = self.look_at_some(bytes)?;
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// Looks at the bytes up to where something else begins; how many they are.
    fn look_at_some(&mut self, bytes: &[u8]) -> Result<usize, Problem> {
        match &mut self.at {
            At::Length(digits) => {
                let used = fill(digits, 4, bytes);
                if digits.len() == 4 {
                    self.at = after(digits, &mut self.pack)?;
                }
                Ok(used)
            }
            At::Channel(left) => {
                let is_data = bytes[0] == DATA;
                let used = usize::from(is_data);
                self.at = At::Rest(*left - used, is_data).or_next();
                Ok(used)
            }
            At::Rest(left, is_data) => {
                let (used, is_data) = (bytes.len().min(*left), *is_data);
                self.at = At::Rest(*left - used, is_data).or_next();
                if is_data {
                    self.pack.look(&bytes[..used])?;
                }
                Ok(used)
            }
            At::Bare => {
                self.pack.look(bytes)?;
                Ok(bytes.len())
            }
        }
    }
}

impl At {
    /// The next packet, where this one is over.
    fn or_next(self) -> Self {
        match self {
            Self::Rest(0, _) => Self::default(),
            other => other,
        }
    }
}

/// What follows these four bytes.
fn after(digits: &[u8], pack: &mut Pack) -> Result<At, Problem> {
    if digits == MAGIC {
        pack.look(digits)?;
        return Ok(At::Bare);
    }
    let length = std::str::from_utf8(digits).ok();
    let length = length.and_then(|digits| usize::from_str_radix(digits, 16).ok());
    match length {
        None => Err(Problem::Broken("a packet has no length")),
        // Those without content mean something of their own.
        Some(0..=4) => Ok(At::default()),
        Some(length) => Ok(At::Channel(length - 4)),
    }
}

/// Takes bytes until there are `enough`; how many were taken.
fn fill(into: &mut Vec<u8>, enough: usize, bytes: &[u8]) -> usize {
    let used = bytes.len().min(enough - into.len());
    into.extend_from_slice(&bytes[..used]);
    used
}

/// Looks at a pack.
struct Pack {
    part: Part,
    /// Objects that are still to come.
    left: u32,
    zlib: Decompress,
    window: Box<[u8]>,
}

impl Default for Pack {
    fn default() -> Self {
        Self {
            part: Part::Header(Vec::new()),
            left: 0,
            zlib: Decompress::new(true),
            window: vec![0; 16 << 10].into_boxed_slice(),
        }
    }
}

/// Where in a pack.
enum Part {
    /// Its name, version and number of objects.
    Header(Vec<u8>),
    /// The kind and the size of an object; how many bits of the size are known.
    Size(Option<(Object, u32)>),
    /// How far back that lies from which it differs.
    Offset(Object),
    /// The name of that from which it differs; so many bytes of it are to come.
    Base(Object, usize),
    /// Its content.
    Content(Object),
    /// Behind the last object.
    End,
}

/// An object, as far as it was looked at.
struct Object {
    kind: u8,
    /// As its header says.
    size: u64,
    inflated: u64,
    /// What a difference begins with.
    sizes: Vec<u8>,
}

/// How an object's header says that it is a difference from one at an offset, or from one by name.
const BY_OFFSET: u8 = 6;
const BY_NAME: u8 = 7;

impl Object {
    fn is_difference(&self) -> bool {
        matches!(self.kind, BY_OFFSET | BY_NAME)
    }

    /// Takes in what was inflated.
    fn holds(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.inflated += bytes.len() as u64;
        if self.inflated > self.size {
            return Err(Problem::Broken("an object is larger than it says"));
        }
        if self.is_difference() {
            let enough = SIZES.max(self.sizes.len());
            fill(&mut self.sizes, enough, bytes);
        }
        Ok(())
    }

    /// What a difference is of and what it comes to, when it is here whole.
    fn whole(&self) -> Result<(), Problem> {
        if !self.is_difference() {
            return Ok(());
        }
        let mut sizes = self.sizes.iter().copied();
        for _ in 0..2 {
            bounded(number(&mut sizes, 0, 0)?)?;
        }
        Ok(())
    }
}

impl Pack {
    fn look(&mut self, mut bytes: &[u8]) -> Result<(), Problem> {
        while !bytes.is_empty() {
            let part = std::mem::replace(&mut self.part, Part::End);
            let (part, used) = self.look_at_part(part, bytes)?;
            self.part = part;
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// The part that follows, and how many bytes were used.
    fn look_at_part(&mut self, part: Part, bytes: &[u8]) -> Result<(Part, usize), Problem> {
        Ok(match part {
            Part::Header(mut head) => {
                let used = fill(&mut head, 12, bytes);
                (self.begun(head)?, used)
            }
            Part::Size(known) => (sized(known, bytes[0])?, 1),
            Part::Offset(object) if bytes[0] & 0x80 != 0 => (Part::Offset(object), 1),
            Part::Offset(object) => (Part::Content(object), 1),
            Part::Base(object, left) => {
                let used = left.min(bytes.len());
                let left = left - used;
                if left == 0 {
                    (Part::Content(object), used)
                } else {
                    (Part::Base(object, left), used)
                }
            }
            Part::Content(object) => self.inflate(object, bytes)?,
            Part::End => (Part::End, bytes.len()),
        })
    }

    fn begun(&mut self, head: Vec<u8>) -> Result<Part, Problem> {
        let Some((&magic, rest)) = head.split_first_chunk::<4>() else {
            return Ok(Part::Header(head));
        };
        if magic != *MAGIC {
            return Err(Problem::Broken("no pack where one should begin"));
        }
        let Some(count) = rest.last_chunk::<4>().filter(|_| rest.len() == 8) else {
            return Ok(Part::Header(head));
        };
        self.left = u32::from_be_bytes(*count);
        if self.left > MOST {
            return Err(Problem::Many(self.left));
        }
        Ok(self.next())
    }

    fn next(&self) -> Part {
        match self.left {
            0 => Part::End,
            _ => Part::Size(None),
        }
    }

    fn inflate(&mut self, mut object: Object, bytes: &[u8]) -> Result<(Part, usize), Problem> {
        let broken = Problem::Broken("an object cannot be unpacked");
        let (read, written) = (self.zlib.total_in(), self.zlib.total_out());
        let status = self
            .zlib
            .decompress(bytes, &mut self.window, FlushDecompress::None);
        let Ok(status) = status else {
            return Err(broken);
        };
        let count = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
        let used = count(self.zlib.total_in(), read);
        let filled = count(self.zlib.total_out(), written);
        object.holds(&self.window[..filled])?;
        if status == Status::StreamEnd {
            object.whole()?;
            self.zlib.reset(true);
            self.left -= 1;
            return Ok((self.next(), used));
        }
        if used == 0 && filled == 0 {
            return Err(broken);
        }
        Ok((Part::Content(object), used))
    }
}

/// What follows one more byte of an object's kind and size.
fn sized(known: Option<(Object, u32)>, byte: u8) -> Result<Part, Problem> {
    let (object, bits) = match known {
        None => {
            let object = Object {
                kind: (byte >> 4) & 7,
                size: u64::from(byte & 0xf),
                inflated: 0,
                sizes: Vec::new(),
            };
            (object, 4)
        }
        Some((mut object, bits)) => {
            object.size = number(&mut std::iter::once(byte & 0x7f), object.size, bits)?;
            (object, bits + 7)
        }
    };
    bounded(object.size)?;
    if byte & 0x80 != 0 {
        return Ok(Part::Size(Some((object, bits))));
    }
    match object.kind {
        1..=4 => Ok(Part::Content(object)),
        BY_OFFSET => Ok(Part::Offset(object)),
        BY_NAME => Ok(Part::Base(object, 20)),
        _ => Err(Problem::Broken("an object of no kind")),
    }
}

/// A number, seven bits a byte, the lowest first; so many bits of it are known.
fn number(bytes: &mut impl Iterator<Item = u8>, known: u64, mut bits: u32) -> Result<u64, Problem> {
    let mut number = known;
    for byte in bytes {
        let part = u64::from(byte & 0x7f);
        if bits > 56 {
            return Err(Problem::Broken("a size without end"));
        }
        number |= part << bits;
        bits += 7;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Problem::Broken("a difference without its sizes"))
}

fn bounded(size: u64) -> Result<(), Problem> {
    if size > LARGEST {
        return Err(Problem::Large(size));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    const BLOB: u8 = 3;

    fn sized(mut size: u64, first: Option<u8>) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(kind) = first {
            let more = if size > 0xf { 0x80 } else { 0 };
            bytes.push((kind << 4) | (size & 0xf) as u8 | more);
            size >>= 4;
            if size == 0 {
                return bytes;
            }
        }
        loop {
            let more = if size > 0x7f { 0x80 } else { 0 };
            bytes.push((size & 0x7f) as u8 | more);
            size >>= 7;
            if size == 0 {
                return bytes;
            }
        }
    }

    fn object(kind: u8, says: u64, before: &[u8], content: &[u8]) -> Vec<u8> {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
        packed.write_all(content).unwrap();
        [&*sized(says, Some(kind)), before, &packed.finish().unwrap()].concat()
    }

    fn difference(of: u64, to: u64) -> Vec<u8> {
        let content = [sized(of, None), sized(to, None), vec![1; 40]].concat();
        object(BY_NAME, content.len() as u64, &[0xff; 20], &content)
    }

    fn pack(objects: &[Vec<u8>]) -> Vec<u8> {
        let count = u32::try_from(objects.len()).unwrap().to_be_bytes();
        let head = [&MAGIC[..], &[0, 0, 0, 2], &count].concat();
        [head, objects.concat(), vec![0xee; 20]].concat()
    }

    fn packets(channel: u8, bytes: &[u8]) -> Vec<u8> {
        let packet = |part: &[u8]| {
            let length = format!("{:04x}", part.len() + 5).into_bytes();
            [length, vec![channel], part.to_vec()].concat()
        };
        let packets: Vec<u8> = bytes.chunks(1_000).flat_map(packet).collect();
        [
            &b"0034shallow 1111111111111111111111111111111111111111"[..],
            b"00000008NAK\n",
            &packets,
            b"0000",
        ]
        .concat()
    }

    fn look(bytes: &[u8], at_once: usize) -> Result<(), Problem> {
        let mut inspector = Inspector::default();
        bytes
            .chunks(at_once)
            .try_for_each(|some| inspector.look(some))
    }

    #[test]
    fn what_unpacks_to_too_much_goes_no_further() {
        let text = b"image: v2\n".repeat(7_000);
        let good = object(BLOB, text.len() as u64, &[], &text);
        let by_offset = |sizes: &[u8]| object(BY_OFFSET, sizes.len() as u64, &[0x81, 0x02], sizes);
        let (large, broken) = (Problem::Large, Problem::Broken);
        let sound = vec![
            good.clone(),
            by_offset(&[70, 70, 1]),
            difference(9, LARGEST),
            good.clone(),
        ];
        let table = [
            (sound, Ok(())),
            (vec![], Ok(())),
            (
                vec![good.clone(), object(BLOB, LARGEST + 1, &[], b"")],
                Err(large(LARGEST + 1)),
            ),
            (
                vec![difference(LARGEST + 2, 9), good.clone()],
                Err(large(LARGEST + 2)),
            ),
            (vec![difference(9, LARGEST + 3)], Err(large(LARGEST + 3))),
            (
                vec![by_offset(&[70])],
                Err(broken("a difference without its sizes")),
            ),
            (
                vec![object(BLOB, 10, &[], &text)],
                Err(broken("an object is larger than it says")),
            ),
            (
                vec![object(5, 1, &[], b"a")],
                Err(broken("an object of no kind")),
            ),
            (
                vec![[vec![0xb0], vec![0x80; 20]].concat()],
                Err(broken("a size without end")),
            ),
            (
                vec![[sized(9, Some(BLOB)), vec![7; 9]].concat()],
                Err(broken("an object cannot be unpacked")),
            ),
        ];
        for (objects, wanted) in table {
            let pack = pack(&objects);
            let bare = [&b"0008NAK\n"[..], &pack].concat();
            for sent in [packets(DATA, &pack), bare] {
                for at_once in [1, 7, 999, usize::MAX] {
                    assert_eq!(look(&sent, at_once), wanted, "{objects:.10?} {at_once}");
                }
            }
            assert_eq!(look(&packets(2, &pack), 9), Ok(()), "said, and no data");
        }
    }

    #[test]
    fn too_many_objects_and_what_is_no_pack_go_no_further() {
        let head = |count: u32| [&b"PACK\0\0\0\x02"[..], &count.to_be_bytes()].concat();
        let table: [(Vec<u8>, _); 4] = [
            (head(MOST), Ok(())),
            (head(MOST + 1), Err(Problem::Many(MOST + 1))),
            (
                b"<html>".to_vec(),
                Err(Problem::Broken("a packet has no length")),
            ),
            (
                packets(DATA, b"KCAP"),
                Err(Problem::Broken("no pack where one should begin")),
            ),
        ];
        for (sent, wanted) in table {
            assert_eq!(look(&sent, 5), wanted);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_crash(bytes: Vec<u8>, at_once in 1_usize..40) {
            let _ = look(&bytes, at_once);
            let _ = look(&[&b"PACK\0\0\0\x02\0\0\0\x09"[..], &bytes].concat(), at_once);
        }
    }
}
