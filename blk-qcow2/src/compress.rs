//! Compressed clusters: raw deflate with a 4 KiB window, or a zstd frame.
//!
//! The stored length is known only up to the end of a sector, so what follows the stream has to be ignored;
//! and the output is exactly one cluster, so nothing larger is ever allocated.

use std::cell::RefCell;

use blk_core::{Error, Result};
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Status};
use zstd::bulk::Compressor;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::ondisk::CompressionType;

/// Readers inflate with a window of 2^12 bytes, so no stream may refer back further.
const DEFLATE_WINDOW_BITS: u8 = 12;
/// The only level at which zlib-rs looks for matches of 3 bytes, as zlib does at every level. Without them
/// executables become 3 % larger than other writers make them; with them they take twice the time.
const DEFLATE_LEVEL: i32 = 9;
/// The most, so that a cluster becomes few blocks with a code table each.
const DEFLATE_MEM_LEVEL: i32 = 9;
/// A frame of one cluster, at most 2 MiB, needs no larger window; a larger one is a way to make us allocate.
const ZSTD_WINDOW_LOG_MAX: u32 = 21;

thread_local! {
    /// Its tables are a quarter of a mebibyte: making new ones costs more than compressing a small cluster.
    static DEFLATER: RefCell<Deflate> = RefCell::new(new_deflater());
    /// Where a stream goes while its length is unknown.
    static DEFLATED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Their tables are even larger. Errors leave them fit for the next frame.
    static PACKER: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static UNPACKER: RefCell<Option<Decoder<'static>>> = const { RefCell::new(None) };
}

/// Fills `output`, one cluster, from the stream at the start of `input`.
///
/// # Errors
/// [`Error::Malformed`] if the stream is broken or too short.
pub(crate) fn decompress(kind: CompressionType, input: &[u8], output: &mut [u8]) -> Result<()> {
    match kind {
        CompressionType::Zlib => inflate(input, output),
        CompressionType::Zstd => unpack(input, output),
    }
}

fn inflate(input: &[u8], output: &mut [u8]) -> Result<()> {
    let broken = |reason: String| Error::malformed("deflate stream", 0, reason);
    let mut inflater = Inflate::new(false, DEFLATE_WINDOW_BITS);
    inflater
        .decompress(input, output, InflateFlush::Finish)
        .map_err(|error| broken(inflater.error_message().unwrap_or(error.as_str()).to_owned()))?;
    if inflater.total_out() != output.len() as u64 {
        return Err(broken(format!("it ends after {} of {} bytes", inflater.total_out(), output.len())));
    }
    Ok(())
}

fn unpack(input: &[u8], output: &mut [u8]) -> Result<()> {
    let broken = |reason: String| Error::malformed("zstd stream", 0, reason);
    let failed = |error: std::io::Error| broken(error.to_string());
    UNPACKER.with_borrow_mut(|unpacker| {
        let unpacker = match unpacker {
            Some(unpacker) => unpacker,
            None => unpacker.insert(new_unpacker().map_err(failed)?),
        };
        unpacker.reinit().map_err(failed)?;
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(output);
        let bytes = output.capacity();
        // A cluster may be made of several frames, says QEMU, the last of which ends with it.
        let mut rest_of_frame = 0;
        while output.pos() < bytes {
            let before = (input.pos, output.pos());
            rest_of_frame = unpacker.run(&mut input, &mut output).map_err(failed)?;
            if (input.pos, output.pos()) == before {
                return Err(broken(format!("it ends after {} of {bytes} bytes", output.pos())));
            }
        }
        if rest_of_frame > 0 {
            return Err(broken(format!("it goes on after {bytes} bytes")));
        }
        Ok(())
    })
}

fn new_unpacker() -> std::io::Result<Decoder<'static>> {
    let mut unpacker = Decoder::new()?;
    unpacker.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
    Ok(unpacker)
}

fn pack(cluster: &[u8]) -> std::io::Result<Vec<u8>> {
    PACKER.with_borrow_mut(|packer| {
        let packer = match packer {
            Some(packer) => packer,
            None => packer.insert(Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?),
        };
        packer.compress(cluster)
    })
}

/// Compresses one cluster; `None` where it does not become smaller.
pub(crate) fn compress(kind: CompressionType, cluster: &[u8]) -> Result<Option<Vec<u8>>> {
    let packed = match kind {
        CompressionType::Zlib => deflate(cluster)?,
        CompressionType::Zstd => Some(pack(cluster).map_err(|error| Error::io("compress", 0, error))?),
    };
    Ok(packed.filter(|packed| packed.len() < cluster.len()))
}

/// A stream that does not end leaves output in the deflater which a reset does not clear, and which a later
/// stream cannot hold: zlib-rs 0.6.8 panics then. So every stream gets the room that it may need, and a
/// deflater whose stream has not ended is replaced.
fn deflate(cluster: &[u8]) -> Result<Option<Vec<u8>>> {
    DEFLATER.with_borrow_mut(|deflater| {
        DEFLATED.with_borrow_mut(|packed| {
            deflater.reset();
            packed.resize(deflated_bytes_max(cluster.len()), 0);
            let status = deflater.compress(cluster, packed, DeflateFlush::Finish);
            if matches!(status, Ok(Status::StreamEnd)) {
                let length = deflater.total_out() as usize;
                assert!(length > 0 && length <= packed.len(), "a stream ends in its buffer");
                return Ok((length < cluster.len()).then(|| packed[..length].to_vec()));
            }
            *deflater = new_deflater();
            let reason =
                status.map_or_else(|error| error.as_str().to_owned(), |status| format!("{status:?}"));
            Err(Error::io("compress", 0, std::io::Error::other(reason)))
        })
    })
}

fn new_deflater() -> Deflate {
    Deflate::new_with_config(DeflateConfig {
        window_bits: -i32::from(DEFLATE_WINDOW_BITS),
        level: DEFLATE_LEVEL,
        mem_level: DEFLATE_MEM_LEVEL,
        ..DeflateConfig::default()
    })
}

/// The longest that a raw deflate stream of so many bytes becomes, as zlib's `deflateBound` has it for any
/// parameters.
const fn deflated_bytes_max(bytes: usize) -> usize {
    bytes + bytes.div_ceil(8) + bytes.div_ceil(64) + 5
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compressible, with repetitions further apart than the deflate window.
    fn cluster(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| if at % 3 == 0 { (at / 7 % 13) as u8 } else { (at % 5000 / 400) as u8 }).collect()
    }

    #[test]
    fn both_kinds_return_what_went_in_and_ignore_what_follows() {
        for kind in [CompressionType::Zlib, CompressionType::Zstd] {
            for bits in [9, 12, 16, 21] {
                let original = cluster(1 << bits);
                let mut packed = compress(kind, &original).unwrap().expect("compressible");
                packed.extend([0xee; 300]);
                let mut back = vec![1; original.len()];
                decompress(kind, &packed, &mut back).unwrap();
                assert!(back == original, "{kind:?} {bits}");
            }
        }
    }

    fn noise() -> impl Iterator<Item = u8> {
        let mut state = 1u64;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
    }

    /// What does not fit must leave no state that breaks a later stream.
    #[test]
    fn streams_follow_one_another_whatever_the_ones_before_were() {
        for kind in [CompressionType::Zlib, CompressionType::Zstd] {
            for bits in 9..=21 {
                let bytes = 1 << bits;
                let mut noisy: Vec<u8> = noise().skip(bits).take(bytes).collect();
                for round in 0..(1 << 20 >> bits).clamp(4, 64) {
                    noisy.rotate_left(round % 7);
                    // One more byte is zero each time: the border of what becomes smaller is met by the byte.
                    let mut mixed = noisy.clone();
                    mixed[bytes - round % bytes..].fill(0);
                    for original in [&noisy, &mixed, &cluster(bytes), &vec![0; bytes]] {
                        let Some(packed) = compress(kind, original).unwrap() else { continue };
                        assert!(packed.len() < bytes, "{kind:?} {bits}");
                        let mut back = vec![1; bytes];
                        decompress(kind, &packed, &mut back).unwrap();
                        assert!(back == *original, "{kind:?} {bits} {round}");
                    }
                }
            }
        }
    }

    /// A short zstd frame may have any length, so it may be exactly as long as what it holds.
    #[test]
    fn what_packs_into_as_many_bytes_is_not_smaller() {
        let mut lengths = Vec::new();
        for noisy in 60..100 {
            let mut input: Vec<u8> = noise().take(noisy).collect();
            input.resize(100, 0);
            let packed = zstd::bulk::compress(&input, zstd::DEFAULT_COMPRESSION_LEVEL).unwrap().len();
            let kept = compress(CompressionType::Zstd, &input).unwrap();
            assert_eq!(kept.map(|kept| kept.len()), Some(packed).filter(|packed| *packed < 100), "{noisy}");
            lengths.push(packed);
        }
        assert!(lengths.contains(&100) && lengths.iter().any(|packed| *packed < 100), "{lengths:?}");
    }

    #[test]
    fn noise_is_not_stored_compressed_and_broken_streams_are_errors() {
        let noise: Vec<u8> = noise().take(4096).collect();
        for kind in [CompressionType::Zlib, CompressionType::Zstd] {
            assert_eq!(compress(kind, &noise).unwrap(), None);
            let mut output = vec![0; 4096];
            assert!(decompress(kind, &noise, &mut output).is_err());
            assert!(decompress(kind, &[], &mut output).is_err());
            let packed = compress(kind, &cluster(4096)).unwrap().unwrap();
            assert!(
                decompress(kind, &packed[..packed.len() / 2], &mut output).is_err(),
                "{kind:?} cut short"
            );
        }
    }

    /// Frames of this many bytes, one after the other, and then these bytes.
    fn unpack_frames(frames: &[usize], after: &[u8]) -> Result<()> {
        let original = cluster(8192);
        let mut packed = Vec::new();
        let mut at = 0;
        for bytes in frames {
            packed.extend(pack(&original[at..at + bytes]).unwrap());
            at += bytes;
        }
        packed.extend(after);
        let mut output = vec![0; 4096];
        decompress(CompressionType::Zstd, &packed, &mut output)?;
        assert!(output == original[..4096], "{frames:?}");
        Ok(())
    }

    /// QEMU 10.0 gives the same answer to each of these.
    #[test]
    fn a_cluster_is_one_frame_or_more() {
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
        for frames in [&[4096][..], &[2048, 2048], &[1, 4094, 1], &[4096, 2048]] {
            unpack_frames(frames, &[]).unwrap();
            unpack_frames(frames, &[0; 300]).unwrap();
            unpack_frames(frames, &skipped).unwrap();
        }
        for (frames, after, reason) in [
            (&[][..], &[][..], "it ends after 0 of 4096 bytes"),
            (&[], &skipped, "it ends after 0 of 4096 bytes"),
            (&[2048], &[], "it ends after 2048 of 4096 bytes"),
            (&[2048, 2047], &[], "it ends after 4095 of 4096 bytes"),
            (&[2048], &[0xee; 300], "Unknown frame descriptor"),
            (&[8192], &[], "it goes on after 4096 bytes"),
            (&[2048, 2049], &[], "it goes on after 4096 bytes"),
        ] {
            let error = unpack_frames(frames, after).unwrap_err().to_string();
            assert!(error.contains(reason), "{frames:?}: {error}");
        }
    }
}
