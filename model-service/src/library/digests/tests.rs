//! Hashes against constants that other programs made (Python's hashlib, the test vectors of BLAKE3).

use super::*;

const EMPTY_BLAKE3: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
const ABC_SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const ABC_BLAKE3: &str = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";

/// The bytes of which the constants are.
fn body(size: usize) -> Vec<u8> {
    let byte = |at: usize| ((at * 31 + (at >> 8) * 7) & 255) as u8;
    (0..size).map(byte).collect()
}

/// A safetensors file with a header of its own, and what follows it.
fn safetensors(rest: &[u8]) -> Vec<u8> {
    let header = br#"{"__metadata__":{"a":"b"}}"#;
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header, rest].concat()
}

fn digests(bytes: &[u8]) -> Digests {
    read(&mut { bytes }, bytes.len() as u64).unwrap()
}

fn read(file: &mut impl Read, size_bytes: u64) -> Result<Digests, DigestFault> {
    digest(file, size_bytes, &mut |_| ControlFlow::Continue(()))
}

/// Gives a few bytes at a time, and counts them.
struct Drops<'a> {
    bytes: &'a [u8],
    largest: usize,
    given: usize,
}

impl<'a> Drops<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            largest: 0,
            given: 0,
        }
    }
}

impl Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.largest = self.largest.max(buffer.len());
        let few = buffer.len().min(self.given % 4_001 + 1);
        let read = (&self.bytes[self.given..]).read(&mut buffer[..few])?;
        self.given += read;
        Ok(read)
    }
}

#[test]
fn known_bytes_have_their_known_hashes() {
    let abc = digests(b"abc");
    assert_eq!(
        (abc.sha256.as_str(), abc.blake3.as_str()),
        (ABC_SHA256, ABC_BLAKE3)
    );
    assert_eq!((abc.autov1, abc.autov3), (None, None));
    assert_eq!(digests(b"").blake3, EMPTY_BLAKE3);
    let counted: Vec<u8> = (0..102_400_u32).map(|at| (at % 251) as u8).collect();
    let expected = "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085";
    assert_eq!(digests(&counted).blake3, expected);
}

#[test]
fn autov1_is_of_the_sixty_four_kibibytes_behind_the_first_megabyte() {
    let plain = digests(&body(1_100_000));
    let sha256 = "10909265d83a397cd6bcdbd61815f515b2623c0f95c02e72a86367208bd84aac";
    assert_eq!(plain.sha256.as_str(), sha256);
    assert_eq!(plain.autov1.as_deref(), Some("1569aaf7"));
    assert_eq!(plain.autov3, None);
    assert_eq!(digests(&body(0x10_0000)).autov1, None);
    assert!(digests(&body(0x10_0001)).autov1.is_some());
}

#[test]
fn autov3_is_of_what_follows_the_header_of_a_safetensors_file() {
    let file = safetensors(&body(1_200_000));
    let all = digests(&file);
    let sha256 = "1e318d83882372dfe80f1910f22a5ea648ea03916df10c5189ff2d2affad7283";
    assert_eq!(all.sha256.as_str(), sha256);
    assert_eq!(all.autov1.as_deref(), Some("414aec79"));
    assert_eq!(all.autov3.as_deref(), Some("07bfa3daab04"));
    assert_eq!(all.blake3, blake3::hash(&file).to_hex().to_string());
}

#[test]
fn a_header_longer_than_many_reads_is_skipped_all_the_same() {
    let header = format!("{{{}}}", " ".repeat(3 * READ_BYTES));
    let length = (header.len() as u64).to_le_bytes();
    let file = [&length[..], header.as_bytes(), b"abc"].concat();
    assert_eq!(digests(&file).autov3.as_deref(), Some(&ABC_SHA256[..12]));
}

#[test]
fn what_is_no_safetensors_file_has_no_autov3() {
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    let over = [&(HEADER_BYTES_MAX + 1).to_le_bytes()[..], b"{}abc"].concat();
    let cut = [&9_u64.to_le_bytes()[..], b"{}"].concat();
    let no_object = [&2_u64.to_le_bytes()[..], b"[]abc"].concat();
    let nothing_follows = safetensors(b"");
    let zip = b"PK\x03\x04\x14\0\0\0\x08\0{abcdef".to_vec();
    for bytes in [
        huge,
        over,
        cut,
        no_object,
        nothing_follows,
        zip,
        vec![0; 8],
        vec![1; 3],
    ] {
        assert_eq!(digests(&bytes).autov3, None, "{bytes:?}");
    }
}

#[test]
fn it_does_not_matter_how_the_bytes_come_and_each_comes_once_into_one_buffer() {
    let file = safetensors(&body(1_200_000));
    let mut drops = Drops::new(&file);
    assert_eq!(read(&mut drops, file.len() as u64).unwrap(), digests(&file));
    assert_eq!((drops.given, drops.largest), (file.len(), READ_BYTES));
}

#[test]
fn a_file_that_is_longer_or_shorter_than_it_was_has_no_hashes() {
    let file = body(300_000);
    for size_bytes in [0, 1, 299_999, 300_001, u64::MAX] {
        let fault = read(&mut &file[..], size_bytes).unwrap_err();
        assert!(
            matches!(fault, DigestFault::OtherSize),
            "{size_bytes}: {fault}"
        );
    }
}

#[test]
fn it_tells_what_it_read_and_can_be_broken_off_at_each_read() {
    let file = body(3 * READ_BYTES + 5);
    let mut told = Vec::new();
    digest(&mut &file[..], file.len() as u64, &mut |bytes| {
        told.push(bytes);
        ControlFlow::Continue(())
    })
    .unwrap();
    let read = READ_BYTES as u64;
    assert_eq!(told, [read, read, read, 5]);
    let mut drops = Drops::new(&file);
    let stopped = digest(&mut drops, file.len() as u64, &mut |_| {
        ControlFlow::Break(())
    });
    assert!(matches!(stopped, Err(DigestFault::Stopped)));
    assert_eq!(drops.given, READ_BYTES);
}
