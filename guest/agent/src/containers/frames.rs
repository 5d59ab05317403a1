//! The engine's log bytes as messages, however they arrive and whatever they hold.
//!
//! Without a terminal each message is a frame: one byte for the channel, three zero
//! bytes, four bytes of length, the message. With one the container's bytes come as
//! they are, and a message is a line.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::containers::EngineError;

/// Longest message, in bytes; a longer one becomes several. The engine itself splits
/// lines at half of this.
const MAX_MESSAGE: usize = 32 * 1024;
const HEADER: usize = 8;

/// Where a message was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Channel {
    Stdin,
    Stdout,
    Stderr,
    /// A terminal, which has one channel for all.
    Console,
}

/// Part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) channel: Channel,
    pub(super) bytes: Bytes,
}

/// Finds messages in what is fed to it; holds at most one message and what was fed last.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: BytesMut,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Terminal,
    Multiplexed { frame: Option<Frame> },
}

/// A frame whose header has been read.
#[derive(Debug, Clone, Copy)]
struct Frame {
    /// None for the engine's own report of an error.
    channel: Option<Channel>,
    remaining: usize,
}

impl Frames {
    /// Of a container with a terminal.
    pub(super) fn terminal() -> Self {
        Self {
            buffer: BytesMut::new(),
            form: Form::Terminal,
        }
    }

    /// Of a container without one.
    pub(super) fn multiplexed() -> Self {
        Self {
            buffer: BytesMut::new(),
            form: Form::Multiplexed { frame: None },
        }
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// The next message, when it is there.
    pub(super) fn next(&mut self) -> Result<Option<Message>, EngineError> {
        let Form::Multiplexed { frame } = &mut self.form else {
            return Ok(next_line(&mut self.buffer));
        };
        loop {
            let open = match frame {
                Some(open) => open,
                None => match header(&mut self.buffer)? {
                    Some(open) => frame.insert(open),
                    None => return Ok(None),
                },
            };
            let piece = open.remaining.min(MAX_MESSAGE);
            if self.buffer.len() < piece {
                return Ok(None);
            }
            let bytes = self.buffer.split_to(piece).freeze();
            let channel = open.channel;
            open.remaining -= piece;
            if open.remaining == 0 {
                *frame = None;
            }
            match channel {
                Some(_) if bytes.is_empty() => {}
                Some(channel) => return Ok(Some(Message { channel, bytes })),
                None => {
                    return Err(EngineError::Malformed {
                        reason: String::from_utf8_lossy(&bytes).trim().to_owned(),
                    });
                }
            }
        }
    }

    /// What is left when there are no more bytes: a line without its end.
    pub(super) fn finish(&mut self) -> Result<Option<Message>, EngineError> {
        match &self.form {
            Form::Terminal if self.buffer.is_empty() => Ok(None),
            Form::Terminal => Ok(Some(Message {
                channel: Channel::Console,
                bytes: self.buffer.split().freeze(),
            })),
            Form::Multiplexed { frame: None } if self.buffer.is_empty() => Ok(None),
            Form::Multiplexed { .. } => Err(EngineError::Malformed {
                reason: "the log ends inside a message".into(),
            }),
        }
    }
}

fn next_line(buffer: &mut BytesMut) -> Option<Message> {
    let window = &buffer[..buffer.len().min(MAX_MESSAGE)];
    let length = match window.iter().position(|byte| *byte == b'\n') {
        Some(end) => end + 1,
        None if window.len() == MAX_MESSAGE => MAX_MESSAGE,
        None => return None,
    };
    Some(Message {
        channel: Channel::Console,
        bytes: buffer.split_to(length).freeze(),
    })
}

fn header(buffer: &mut BytesMut) -> Result<Option<Frame>, EngineError> {
    let Some((&[kind, a, b, c, ..], _)) = buffer.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let channel = match (kind, [a, b, c]) {
        (0, [0, 0, 0]) => Some(Channel::Stdin),
        (1, [0, 0, 0]) => Some(Channel::Stdout),
        (2, [0, 0, 0]) => Some(Channel::Stderr),
        (3, [0, 0, 0]) => None,
        _ => {
            return Err(EngineError::Malformed {
                reason: format!("log bytes {kind:02x}{a:02x}{b:02x}{c:02x} begin no message"),
            });
        }
    };
    buffer.advance(4);
    let remaining = buffer.get_u32();
    Ok(Some(Frame {
        channel,
        // A u32 fits a usize wherever Linux runs in a confidential VM.
        remaining: usize::try_from(remaining).unwrap_or(usize::MAX),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&[kind, 0, 0, 0][..], &length, bytes].concat()
    }

    /// Every message of `pieces`, and the error that ended them.
    fn read(mut frames: Frames, pieces: &[&[u8]]) -> (Vec<Message>, Option<EngineError>) {
        let mut messages = Vec::new();
        for piece in pieces {
            frames.feed(piece);
            loop {
                match frames.next() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => return (messages, Some(error)),
                }
            }
            assert!(frames.buffer.len() < MAX_MESSAGE);
        }
        match frames.finish() {
            Ok(last) => messages.extend(last),
            Err(error) => return (messages, Some(error)),
        }
        (messages, None)
    }

    fn message(channel: Channel, bytes: &[u8]) -> Message {
        Message {
            channel,
            bytes: Bytes::copy_from_slice(bytes),
        }
    }

    #[test]
    fn frames_are_found_wherever_they_are_cut() {
        let log = [
            frame(1, b"out\n"),
            frame(2, b"\x01\x00\x00\x00 looks like a header\n"),
            frame(1, b""),
            frame(0, b"in"),
        ]
        .concat();
        let expected = vec![
            message(Channel::Stdout, b"out\n"),
            message(Channel::Stderr, b"\x01\x00\x00\x00 looks like a header\n"),
            message(Channel::Stdin, b"in"),
        ];
        for cut in 0..=log.len() {
            let (head, tail) = log.split_at(cut);
            let (messages, error) = read(Frames::multiplexed(), &[head, tail]);
            assert_eq!((messages, error), (expected.clone(), None), "cut at {cut}");
        }
    }

    #[test]
    fn a_long_frame_becomes_several_messages() {
        let long = vec![b'x'; 3 * MAX_MESSAGE + 1];
        let log = frame(1, &long);
        let pieces: Vec<&[u8]> = log.chunks(1000).collect();
        let (messages, error) = read(Frames::multiplexed(), &pieces);
        assert_eq!(error, None);
        let lengths: Vec<usize> = messages.iter().map(|it| it.bytes.len()).collect();
        assert_eq!(lengths, [MAX_MESSAGE, MAX_MESSAGE, MAX_MESSAGE, 1]);
    }

    #[test]
    fn a_cut_log_is_an_error() {
        for cut in [&frame(1, b"abc")[..10], &[1, 0, 0][..]] {
            let (messages, error) = read(Frames::multiplexed(), &[cut]);
            assert!(messages.is_empty());
            assert!(error.unwrap().to_string().contains("inside a message"));
        }
    }

    #[test]
    fn what_is_no_header_is_an_error() {
        for wrong in [
            b"hello wo",
            b"\x04\0\0\0\0\0\0\x01",
            b"\x01\x01\0\0\0\0\0\x01",
        ] {
            let (_, error) = read(Frames::multiplexed(), &[wrong]);
            assert!(error.unwrap().to_string().contains("begin no message"));
        }
    }

    #[test]
    fn the_engines_own_error_is_told() {
        let log = [frame(1, b"a\n"), frame(3, b"Error grabbing logs: x\n")].concat();
        let (messages, error) = read(Frames::multiplexed(), &[&log]);
        assert_eq!(messages, [message(Channel::Stdout, b"a\n")]);
        let text = error.unwrap().to_string();
        assert!(text.ends_with("Error grabbing logs: x"), "{text}");
    }

    #[test]
    fn a_terminal_is_read_by_lines_and_never_as_frames() {
        let log = b"\x01\0\0\0\x7f\xff\xff\xff one\r\ntwo\n\nprompt> ";
        let expected = [
            &b"\x01\0\0\0\x7f\xff\xff\xff one\r\n"[..],
            b"two\n",
            b"\n",
            b"prompt> ",
        ]
        .map(|line| message(Channel::Console, line));
        for cut in 0..=log.len() {
            let (head, tail) = log.split_at(cut);
            let (messages, error) = read(Frames::terminal(), &[head, tail]);
            assert_eq!((messages.as_slice(), error), (&expected[..], None));
        }
    }

    #[test]
    fn a_terminal_that_never_ends_a_line_is_not_waited_for() {
        let long = vec![b'x'; 2 * MAX_MESSAGE + 5];
        let pieces: Vec<&[u8]> = long.chunks(777).collect();
        let (messages, _) = read(Frames::terminal(), &pieces);
        let lengths: Vec<usize> = messages.iter().map(|it| it.bytes.len()).collect();
        assert_eq!(lengths, [MAX_MESSAGE, MAX_MESSAGE, 5]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_pile_up(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let (messages, _) = read(Frames::terminal(), &pieces);
            let all: Vec<u8> = messages.iter().flat_map(|it| it.bytes.to_vec()).collect();
            prop_assert_eq!(all, pieces.concat());
            read(Frames::multiplexed(), &pieces);
        }
    }
}
