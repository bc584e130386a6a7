//! How fast sectors are encrypted, beside the bare cipher on as many bytes: `cargo bench -p blk-luks`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aes::Aes256;
use blk_core::{Access, Format, MapResolver, MemoryStorage, Options, Secret, Storage, WriteFlags};
use blk_luks::{Algorithms, Cipher, IvGenerator, LuksFormat, Mode, Repeatable, SectorCipher};
use cipher::array::Array;
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

const BYTES: usize = 64 << 10;

/// Bytes of the best of many rounds in a second, in MiB.
fn speed(mut work: impl FnMut()) -> f64 {
    let best = (0..400).map(|_| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    });
    let best = best.min().unwrap_or(Duration::MAX);
    f64::from(BYTES as u32) / best.as_secs_f64() / f64::from(1 << 20)
}

fn show(what: &str, speed: f64, bare: f64) {
    println!("{what:<32} {speed:>8.0} MiB/s {:>6.2} of the bare cipher", speed / bare);
}

fn blocks(data: &mut [u8]) -> &mut [Array<u8, cipher::consts::U16>] {
    Array::cast_slice_from_core_mut(data.as_chunks_mut::<16>().0)
}

fn main() {
    let mut data = vec![0x5a_u8; BYTES];
    let bare = Aes256::new(&Array::from([7; 32]));
    let encrypt = speed(|| bare.encrypt_blocks(blocks(&mut data)));
    let decrypt = speed(|| bare.decrypt_blocks(blocks(&mut data)));
    show("aes-256 encrypt, bare", encrypt, encrypt);
    show("aes-256 decrypt, bare", decrypt, decrypt);
    for (mode, name) in [(Mode::Xts, "xts-plain64"), (Mode::Cbc, "cbc-plain64"), (Mode::Ctr, "ctr-plain64")] {
        let cipher = Cipher::from_name("aes-256").expect("it is known");
        let algorithms = Algorithms { cipher, mode, iv: IvGenerator::Plain64, iv_hash: None };
        let key = vec![7; algorithms.volume_key_bytes()];
        let cipher = SectorCipher::new(algorithms, &key).expect("the key fits");
        show(&format!("{name} encrypt"), speed(|| cipher.encrypt(0, &mut data)), encrypt);
        show(&format!("{name} decrypt"), speed(|| cipher.decrypt(0, &mut data)), decrypt);
    }
    disk(&mut data, encrypt, decrypt);
}

/// A disk in memory.
fn disk(data: &mut [u8], encrypt: f64, decrypt: f64) {
    static QUICK: LuksFormat = LuksFormat::new(&Repeatable::new(1)).with_stripes(2);
    let mut secrets = MapResolver::default();
    secrets.insert_secret("key", Secret::from(b"key".to_vec()));
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let options = Options::new().with("key-secret", "key");
    QUICK.create_with(&storage, BYTES as u64, options.clone(), &secrets).expect("it is made");
    let disk = QUICK.open(storage, Access::ReadWrite, options, &secrets).expect("it opens");
    let write = speed(|| disk.write(0, data, WriteFlags::default()).expect("it writes"));
    show("disk in memory, write 64k", write, encrypt);
    show("disk in memory, read 64k", speed(|| disk.read(0, data).expect("it reads")), decrypt);
}
