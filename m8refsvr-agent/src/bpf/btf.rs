//! A reader for the kernel's description of its own types, `/sys/kernel/btf/vmlinux`: the parameters of a
//! tracepoint and the offset of a structure's member. It reads the file once (5 to 10 MB) and is dropped before
//! the BPF programs are loaded; nothing of it stays in memory.
//!
//! Layout: `Documentation/bpf/btf.rst` and `include/uapi/linux/btf.h`.

use std::{fs, io, path::Path};

use thiserror::Error;

/// Where the kernel shows its types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Bytes before what is particular to a kind: `struct btf_type`.
const HEAD: usize = 12;
/// How many types may lie between a name and what it means; more is a loop in a damaged file.
const DEPTH: usize = 32;
/// How many members are searched for one name; more is a loop in a damaged file.
const MEMBERS: u32 = 4096;

/// Why the description could not be used.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The file is missing or unreadable.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The bytes are not what the format says.
    #[error("the kernel's BTF is not understood: {0}")]
    Malformed(&'static str),
}

/// What a tracepoint passes as one of its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// A number, a truth value or an enumeration.
    Scalar,
    /// A pointer to a structure of that name, or to anything else.
    Pointer(Option<String>),
}

/// The types of a kernel.
pub struct Btf {
    data: Vec<u8>,
    /// Start of each type in `data`; type ids count from 1.
    types: Vec<u32>,
    strings: std::ops::Range<usize>,
}

impl Btf {
    /// Reads the types of the running kernel.
    pub fn of_kernel() -> Result<Self, BtfError> {
        Self::read(Path::new(VMLINUX))
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, BtfError> {
        let data =
            fs::read(path).map_err(|source| BtfError::Read { path: path.display().to_string(), source })?;
        Self::parse(data)
    }

    /// Takes the bytes of a file.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let short = BtfError::Malformed("the header is cut off");
        let header = |at| read_u32(&data, at).map(|value| value as usize);
        let (Some(first), Some(header_length), Some(type_start), Some(type_length)) =
            (header(0), header(4), header(8), header(12))
        else {
            return Err(short);
        };
        let (Some(string_start), Some(string_length)) = (header(16), header(20)) else { return Err(short) };
        if first & 0xffff != usize::from(MAGIC) {
            return Err(BtfError::Malformed("it does not begin with the magic number"));
        }
        let section = |start: usize, length: usize| {
            let start = header_length.checked_add(start)?;
            let end = start.checked_add(length)?;
            (end <= data.len()).then_some(start..end)
        };
        let sections = (section(type_start, type_length), section(string_start, string_length));
        let (Some(type_section), Some(strings)) = sections else {
            return Err(BtfError::Malformed("a section lies outside the file"));
        };
        let mut types = Vec::new();
        let mut at = type_section.start;
        while at < type_section.end {
            types.push(u32::try_from(at).map_err(|_| BtfError::Malformed("it is larger than 4 GiB"))?);
            let info = read_u32(&data, at + 4).ok_or(BtfError::Malformed("a type is cut off"))?;
            at += HEAD + extra(info).ok_or(BtfError::Malformed("a kind of type is unknown"))?;
        }
        if at != type_section.end {
            return Err(BtfError::Malformed("a type is cut off"));
        }
        Ok(Self { data, types, strings })
    }

    /// What the tracepoint `name` passes, in the order of its `TP_PROTO`; `None` when there is no such
    /// tracepoint.
    pub fn tracepoint(&self, name: &str) -> Option<Vec<Parameter>> {
        let pointer = self.named(TYPEDEF, &format!("btf_trace_{name}"))?.refers_to()?;
        let prototype = self.resolve(self.resolve(pointer)?.refers_to()?)?;
        if prototype.kind() != FUNC_PROTO {
            return None;
        }
        // The first is the tracepoint's own data, which no BPF program sees.
        (1..prototype.length())
            .map(|index| self.parameter(prototype.read_u32(HEAD + index * 8 + 4)?))
            .collect()
    }

    /// Whether there is a type of this name that a `typedef` made.
    pub fn has_typedef(&self, name: &str) -> bool {
        self.named(TYPEDEF, name).is_some()
    }

    /// Offset in bytes of a member of `structure`, given as the names on the way to it: `["bi_iter",
    /// "bi_size"]`. Looks into unnamed members. `None` when there is none, or when it is a bit field.
    pub fn member_offset(&self, structure: &str, path: &[&str]) -> Option<u32> {
        let mut current = self.named(STRUCT, structure)?;
        let mut offset = 0;
        for (depth, name) in path.iter().enumerate() {
            let (bits, member_type) = self.member(current, name, &mut { MEMBERS })?;
            offset += bits / 8;
            if bits % 8 != 0 {
                return None;
            }
            if depth + 1 < path.len() {
                current = self.resolve(member_type)?;
            }
        }
        Some(offset)
    }

    /// Bit offset and type of a member.
    fn member(&self, structure: Type<'_>, name: &str, budget: &mut u32) -> Option<(u32, u32)> {
        if !matches!(structure.kind(), STRUCT | UNION) {
            return None;
        }
        for index in 0..structure.length() {
            *budget = budget.checked_sub(1)?;
            let at = HEAD + index * 12;
            let (name_offset, member_type, mut bits) =
                (structure.read_u32(at)?, structure.read_u32(at + 4)?, structure.read_u32(at + 8)?);
            if structure.flag() {
                if bits >> 24 != 0 {
                    continue; // A bit field.
                }
                bits &= 0x00ff_ffff;
            }
            if name_offset == 0 {
                let inner = self.resolve(member_type)?;
                if let Some((inner_bits, found)) = self.member(inner, name, budget) {
                    return Some((bits.checked_add(inner_bits)?, found));
                }
            } else if self.is_named(name_offset, name) {
                return Some((bits, member_type));
            }
        }
        None
    }

    fn parameter(&self, id: u32) -> Option<Parameter> {
        let parameter = self.resolve(id)?;
        match parameter.kind() {
            INT | ENUM | ENUM64 => Some(Parameter::Scalar),
            PTR => {
                // A pointer to nothing known (`void *`) has the id 0.
                let target = self.resolve(parameter.refers_to()?);
                let structure = target.filter(|target| matches!(target.kind(), STRUCT | UNION | FWD));
                Some(Parameter::Pointer(structure.and_then(|target| self.string(target.read_u32(0)?))))
            }
            _ => None,
        }
    }

    /// The type behind an id, past names and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type<'_>> {
        for _ in 0..DEPTH {
            let found = self.by_id(id)?;
            match found.kind() {
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => id = found.refers_to()?,
                _ => return Some(found),
            }
        }
        None
    }

    fn by_id(&self, id: u32) -> Option<Type<'_>> {
        let start = *self.types.get(usize::try_from(id.checked_sub(1)?).ok()?)?;
        self.data.get(start as usize..).map(Type)
    }

    fn named(&self, kind: u32, name: &str) -> Option<Type<'_>> {
        self.types
            .iter()
            .filter_map(|&start| self.data.get(start as usize..).map(Type))
            .find(|found| found.kind() == kind && found.read_u32(0).is_some_and(|at| self.is_named(at, name)))
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        let rest = self.data[self.strings.clone()].get(offset as usize..).unwrap_or_default();
        rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    fn string(&self, offset: u32) -> Option<String> {
        let rest = self.data[self.strings.clone()].get(offset as usize..)?;
        let end = rest.iter().position(|&byte| byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }
}

/// One type: the bytes from its start on.
#[derive(Clone, Copy)]
struct Type<'a>(&'a [u8]);

impl Type<'_> {
    fn read_u32(&self, at: usize) -> Option<u32> {
        read_u32(self.0, at)
    }

    fn info(&self) -> u32 {
        self.read_u32(4).unwrap_or_default()
    }

    fn kind(&self) -> u32 {
        kind(self.info())
    }

    /// Members, parameters or enumerators.
    fn length(&self) -> usize {
        length(self.info())
    }

    /// In structures: the members' offsets carry the sizes of bit fields.
    fn flag(&self) -> bool {
        self.info() >> 31 != 0
    }

    fn refers_to(&self) -> Option<u32> {
        self.read_u32(8)
    }
}

/// Bytes that follow the head of a type; `None` for a kind that this reader does not know.
fn extra(info: u32) -> Option<usize> {
    match kind(info) {
        PTR | FWD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => Some(0),
        INT | VAR | DECL_TAG => Some(4),
        ARRAY => Some(12),
        ENUM | FUNC_PROTO => Some(8 * length(info)),
        STRUCT | UNION | DATASEC | ENUM64 => Some(12 * length(info)),
        _ => None,
    }
}

fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

fn length(info: u32) -> usize {
    (info & 0xffff) as usize
}

fn read_u32(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a file together: types as numbers, strings as given.
    fn file(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let type_length = u32::try_from(types.len() * 4).unwrap();
        let header = [
            u32::from(MAGIC) | 1 << 16,
            24,
            0,
            type_length,
            type_length,
            u32::try_from(strings.len()).unwrap(),
        ];
        let mut bytes: Vec<u8> = header.iter().chain(types).flat_map(|number| number.to_ne_bytes()).collect();
        bytes.extend_from_slice(strings);
        bytes
    }

    fn info(kind: u32, length: u32) -> u32 {
        kind << 24 | length
    }

    #[rustfmt::skip]
    fn example() -> Vec<u8> {
        // Offsets of the names:  1: btf_trace_made  16: bio  20: size  25: inner  31: iter
        let strings = b"\0btf_trace_made\0bio\0size\0inner\0iter\0";
        file(
            &[
                /* 1 unsigned int */        20, info(INT, 0), 4, 32,
                /* 2 struct inner */        25, info(STRUCT, 1), 8,  20, 1, 32,
                /* 3 unnamed union */        0, info(UNION, 1), 8,   31, 2, 0,
                /* 4 struct bio */          16, info(STRUCT, 2), 24, 25, 1, 0,  0, 3, 64,
                /* 5 struct bio * */         0, info(PTR, 0), 4,
                /* 6 void * */               0, info(PTR, 0), 0,
                /* 7 (void*, bio*, int) */   0, info(FUNC_PROTO, 3), 0, 0, 6, 0, 5, 0, 1,
                /* 8 pointer to it */        0, info(PTR, 0), 7,
                /* 9 btf_trace_made */       1, info(TYPEDEF, 0), 8,
            ],
            strings,
        )
    }

    #[test]
    fn a_tracepoints_parameters_are_read_without_its_own_data() {
        let btf = Btf::parse(example()).unwrap();
        let expected = [Parameter::Pointer(Some("bio".into())), Parameter::Scalar];
        assert_eq!(btf.tracepoint("made").unwrap(), expected);
        assert_eq!(btf.tracepoint("mad"), None);
        assert_eq!(btf.tracepoint("none"), None);
    }

    #[test]
    fn a_members_offset_is_found_through_unnamed_and_nested_members() {
        let btf = Btf::parse(example()).unwrap();
        assert_eq!(btf.member_offset("bio", &["inner"]), Some(0));
        assert_eq!(btf.member_offset("bio", &["iter"]), Some(8));
        assert_eq!(btf.member_offset("bio", &["iter", "size"]), Some(12));
        assert_eq!(btf.member_offset("bio", &["size"]), None);
        assert_eq!(btf.member_offset("bi", &["inner"]), None);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_a_panic() {
        let whole = example();
        for cut in 0..whole.len() {
            let _ = Btf::parse(whole[..cut].to_vec());
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                if let Ok(btf) = Btf::parse(damaged) {
                    let _ = btf.tracepoint("made");
                    let _ = btf.member_offset("bio", &["iter", "size"]);
                }
            }
        }
        assert!(matches!(Btf::parse(Vec::new()), Err(BtfError::Malformed(_))));
    }

    #[test]
    fn types_that_refer_to_themselves_come_to_an_end() {
        let btf = Btf::parse(file(&[1, info(TYPEDEF, 0), 1], b"\0btf_trace_loop\0")).unwrap();
        assert_eq!(btf.tracepoint("loop"), None);
        let btf = Btf::parse(file(&[1, info(STRUCT, 2), 8, 0, 1, 0, 0, 1, 0], b"\0s\0")).unwrap();
        assert_eq!(btf.member_offset("s", &["x"]), None);
    }
}
