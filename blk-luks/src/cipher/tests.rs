use super::*;
use crate::algorithm::Cipher;
use crate::hash::Hash;

fn algorithms(cipher: &str, mode: &str, iv: &str) -> Algorithms {
    let (iv, hash) = iv.split_once(':').map_or((iv, None), |(iv, hash)| (iv, Hash::from_name(hash)));
    Algorithms {
        cipher: Cipher::from_name(cipher).unwrap(),
        mode: Mode::from_name(mode).unwrap(),
        iv: IvGenerator::from_name(iv).unwrap(),
        iv_hash: hash,
    }
}

fn key(algorithms: &Algorithms) -> Vec<u8> {
    (0..algorithms.volume_key_bytes()).map(|at| (at * 37 + 11) as u8).collect()
}

fn all() -> impl Iterator<Item = Algorithms> {
    let modes = Mode::NAMES
        .into_iter()
        .flat_map(|mode| ["plain", "plain64", "essiv:sha256"].into_iter().map(move |iv| (mode, iv)));
    let all = modes.flat_map(|(mode, iv)| Cipher::NAMES.into_iter().map(move |cipher| (cipher, mode, iv)));
    all.map(|(cipher, mode, iv)| algorithms(cipher, mode, iv))
}

/// However many sectors go together, each becomes what it becomes alone, and comes back.
#[test]
fn sectors_are_independent_and_come_back() {
    for algorithms in all() {
        let cipher = SectorCipher::new(algorithms, &key(&algorithms)).unwrap();
        for count in [1, 7, 8, 9, 17] {
            let plain: Vec<u8> = (0..count * SECTOR_BYTES).map(|at| (at * 7 + at / 512) as u8).collect();
            let mut together = plain.clone();
            cipher.encrypt(5, &mut together);
            assert_ne!(together, plain);
            for (number, sector) in (5..).zip(plain.chunks(SECTOR_BYTES)) {
                let mut alone = sector.to_vec();
                cipher.encrypt(number, &mut alone);
                let at = (number as usize - 5) * SECTOR_BYTES;
                assert!(alone == together[at..at + SECTOR_BYTES], "{algorithms:?}: {number} of {count}");
            }
            cipher.decrypt(5, &mut together);
            assert!(together == plain, "{algorithms:?}: {count}");
        }
    }
}

/// IEEE 1619-2007, vector 10: the first block of a data unit of 512 bytes, AES-256.
#[test]
fn xts_is_that_of_the_standard() {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    };
    let key = hex(concat!(
        "2718281828459045235360287471352662497757247093699959574966967627",
        "3141592653589793238462643383279502884197169399375105820974944592"
    ));
    let cipher = SectorCipher::new(algorithms("aes-256", "xts", "plain64"), &key).unwrap();
    let mut data: Vec<u8> = (0..512_u16).map(|at| at as u8).collect();
    cipher.encrypt(0xff, &mut data);
    assert_eq!(data[..16], hex("1c3b3a102f770386e4836c99e370cf9b"));
}

#[test]
fn sectors_two_tebibytes_apart_differ_by_the_generator() {
    let encrypted = |iv: &str, sector: u64| {
        let algorithms = algorithms("aes-128", "cbc", iv);
        let mut data = vec![0; SECTOR_BYTES];
        SectorCipher::new(algorithms, &key(&algorithms)).unwrap().encrypt(sector, &mut data);
        data
    };
    assert_eq!(encrypted("plain", 3), encrypted("plain", (1 << 32) + 3));
    for iv in ["plain64", "essiv:sha256"] {
        assert_ne!(encrypted(iv, 3), encrypted(iv, (1 << 32) + 3));
    }
}

#[test]
fn keys_do_not_show_and_have_their_length() {
    let xts = algorithms("aes-256", "xts", "plain64");
    let cipher = SectorCipher::new(xts, &key(&xts)).unwrap();
    assert!(format!("{cipher:?}").ends_with(", .. }"), "{cipher:?}");
    assert!(SectorCipher::new(xts, &[1; 32]).is_err());
    assert!(SectorCipher::new(algorithms("aes-256", "cbc", "essiv"), &[1; 32]).is_err());
}
