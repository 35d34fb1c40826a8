//! The meta-variables of a request as they came: one buffer and offsets into it.

use std::fmt;

use bytes::Bytes;

use crate::protocol::{parse_pairs, put_pair, Pair, PairsError};

/// The meta-variables of a request (RFC 3875 section 4.1), as the web server sent them: bytes, in order, with
/// duplicates. Values need not be UTF-8.
///
/// This is the raw list. It also holds what never becomes a header, such as `HTTP_PROXY`.
#[derive(Clone, Default)]
pub struct Params {
    buffer: Bytes,
    pairs: Vec<Pair>,
}

impl Params {
    /// The value of the first meta-variable of this name.
    ///
    /// ```
    /// # use fcgi::Params;
    /// let params = Params::from_iter([("SCRIPT_NAME", "/app"), ("EMPTY", "")]);
    /// assert_eq!(params.get("SCRIPT_NAME"), Some(&b"/app"[..]));
    /// assert_eq!(params.get("EMPTY"), Some(&b""[..]));
    /// assert_eq!(params.get("PATH_INFO"), None);
    /// ```
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(candidate, _)| *candidate == name.as_bytes()).map(|(_, value)| value)
    }

    /// Like [`get`](Self::get), for values that are UTF-8; `None` for those that are not.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All names and values, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs.iter().map(|pair| (pair.name(&self.buffer), pair.value(&self.buffer)))
    }

    /// How many there are, duplicates counted.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    pub(crate) const fn empty() -> Params {
        Params { buffer: Bytes::new(), pairs: Vec::new() }
    }

    /// Takes a complete PARAMS stream.
    pub(crate) fn parse(stream: Vec<u8>) -> Result<Params, PairsError> {
        let mut pairs = Vec::with_capacity(32);
        parse_pairs(&stream, &mut pairs)?;
        Ok(Params { buffer: Bytes::from(stream), pairs })
    }

    /// Like [`iter`](Self::iter), with values that share the buffer.
    pub(crate) fn iter_shared(&self) -> impl Iterator<Item = (&[u8], SharedValue<'_>)> {
        self.pairs.iter().map(|&pair| (pair.name(&self.buffer), SharedValue { params: self, pair }))
    }
}

/// A value that can be had as a slice or as a share of the buffer.
#[derive(Clone, Copy)]
pub(crate) struct SharedValue<'a> {
    params: &'a Params,
    pair: Pair,
}

impl<'a> SharedValue<'a> {
    pub(crate) fn as_slice(self) -> &'a [u8] {
        self.pair.value(&self.params.buffer)
    }

    pub(crate) fn share(self) -> Bytes {
        self.params.buffer.slice_ref(self.as_slice())
    }
}

/// Makes meta-variables of any names and values, so that a handler can be tested without a server.
impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Params {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Params {
        let mut stream = Vec::new();
        pairs.into_iter().for_each(|(name, value)| put_pair(&mut stream, name.as_ref(), value.as_ref()));
        Params::parse(stream).unwrap_or_default()
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lossy = |(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        f.debug_map().entries(self.iter().map(lossy)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_kept_in_order_and_the_first_of_a_name_is_found() {
        let params = Params::from_iter([("A", &b"1"[..]), ("B", b"\xff"), ("A", b"2"), ("", b"")]);
        let all: Vec<_> = params.iter().collect();
        assert_eq!(all, [(&b"A"[..], &b"1"[..]), (b"B", b"\xff"), (b"A", b"2"), (b"", b"")]);
        assert_eq!((params.get("A"), params.get("C")), (Some(&b"1"[..]), None));
        assert_eq!((params.get_str("A"), params.get_str("B")), (Some("1"), None));
        assert_eq!(format!("{params:?}"), r#"{"A": "1", "B": "�", "A": "2", "": ""}"#);
    }

    #[test]
    fn a_cut_stream_is_refused() {
        assert!(Params::parse(b"\x01\x01AB\x05".to_vec()).is_err());
        assert!(Params::parse(Vec::new()).is_ok_and(|params| params.is_empty()));
    }
}
