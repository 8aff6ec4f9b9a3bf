//! As much of the ZIP format as torch's archives use: a directory of entries that are stored as they are.
//!
//! PKWARE's APPNOTE 6.3, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16 and 4.5.3 (64-bit sizes).

use std::collections::BTreeMap;
use std::ops::Range;

/// Most entries: a large checkpoint has a few thousand.
const MOST_ENTRIES: usize = 1 << 20;

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(length)?)?;
    Some(part.iter().rev().fold(0, |n, b| (n << 8) | u64::from(*b)))
}

fn place(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    usize::try_from(number(bytes, at, length)?).ok()
}

/// Where each entry's bytes lie. Errors say in words what is wrong.
pub fn entries(bytes: &[u8]) -> Result<BTreeMap<String, Range<usize>>, String> {
    let directory = directory(bytes).ok_or("its directory is missing; the file is cut off")?;
    let (mut at, count) = directory;
    if count > MOST_ENTRIES {
        return Err(format!("it claims {count} entries"));
    }
    let mut found = BTreeMap::new();
    for _ in 0..count {
        let (name, range, next) = entry(bytes, at).ok_or("its directory is damaged")??;
        if found.insert(name, range).is_some() {
            return Err("two of its entries have one name".into());
        }
        at = next;
    }
    Ok(found)
}

/// Place of the directory and number of its entries.
fn directory(bytes: &[u8]) -> Option<(usize, usize)> {
    const END: &[u8] = b"PK\x05\x06";
    const LONGEST_COMMENT: usize = 65_535;
    let from = bytes.len().saturating_sub(22 + LONGEST_COMMENT);
    let tail = bytes.get(from..)?;
    let end = from + tail.windows(4).rposition(|window| window == END)?;
    let (count, start) = (place(bytes, end + 10, 2)?, place(bytes, end + 16, 4)?);
    let locator = end.checked_sub(20)?;
    if bytes.get(locator..locator + 4) == Some(b"PK\x06\x07".as_slice()) {
        let wide = place(bytes, locator + 8, 8)?;
        if bytes.get(wide..wide.checked_add(4)?)? == b"PK\x06\x06" {
            return Some((place(bytes, wide + 48, 8)?, place(bytes, wide + 32, 8)?));
        }
    }
    Some((start, count))
}

type Entry = (String, Range<usize>, usize);

/// One entry of the directory: name, bytes, and where the next one begins. `None` if it does not lie within the file.
fn entry(bytes: &[u8], at: usize) -> Option<Result<Entry, String>> {
    if bytes.get(at..at.checked_add(4)?)? != b"PK\x01\x02" {
        return None;
    }
    let method = number(bytes, at + 10, 2)?;
    let mut packed = number(bytes, at + 20, 4)?;
    let mut size = number(bytes, at + 24, 4)?;
    let lengths = [28, 30, 32].map(|field| place(bytes, at + field, 2));
    let [Some(name_length), Some(extra_length), Some(comment_length)] = lengths else {
        return None;
    };
    let mut header = number(bytes, at + 42, 4)?;
    let name = bytes.get(at + 46..at + 46 + name_length)?;
    let extra_at = at + 46 + name_length;
    let extra = bytes.get(extra_at..extra_at + extra_length)?;
    // Sizes beyond 32 bits stand in the extra field of id 1, those that are needed, in this order.
    let mut field = 0;
    while let (Some(id), Some(length)) = (number(extra, field, 2), place(extra, field + 2, 2)) {
        if id == 1 {
            let mut inner = field + 4;
            for value in [&mut size, &mut packed, &mut header] {
                if *value == 0xffff_ffff {
                    *value = number(extra, inner, 8)?;
                    inner += 8;
                }
            }
        }
        field += 4 + length;
    }
    let name = String::from_utf8_lossy(name).into_owned();
    if method != 0 || packed != size {
        return Some(Err(format!(
            "its entry `{}` is compressed, which torch never does",
            super::super::error::brief(&name)
        )));
    }
    let header = usize::try_from(header).ok()?;
    if bytes.get(header..header.checked_add(4)?)? != b"PK\x03\x04" {
        return None;
    }
    let start = header
        .checked_add(30)?
        .checked_add(place(bytes, header + 26, 2)?)?
        .checked_add(place(bytes, header + 28, 2)?)?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    bytes.get(start..end)?;
    let next = extra_at + extra_length + comment_length;
    Some(Ok((name, start..end, next)))
}
