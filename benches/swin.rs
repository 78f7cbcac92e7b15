//! A batch of images of 224 x 224 through a Swin Transformer: `cargo bench --bench swin -- DIR BATCH [DEVICE]`
//! It encodes a batch for each line of its input, and prints the seconds. `benches/peers/encode_image.py` runs it next to PyTorch.

use std::io::stdin;
use std::time::Instant;
use wgrec::device::Device;
use wgrec::encoders::pixels::Pixels;
use wgrec::encoders::{Folder, Swin};
use wgrec::{Error, Result};

const SIDE: usize = 224;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let usage = || Error::Usage("cargo bench --bench swin -- DIR BATCH [DEVICE]".into());
    let folder = arguments.first().ok_or_else(usage)?;
    let batch = arguments.get(1).and_then(|n| n.parse().ok()).ok_or_else(usage)?;
    let (device, _) = Device::open(arguments.get(2).map_or("cpu", String::as_str))?;
    let mut swin = Swin::open(&Folder::open(folder.as_ref())?, &device)?;
    let value = |i: usize| (i.wrapping_mul(2_654_435_761) % 1000) as f32 / 250.0 - 2.0;
    let image = |i: usize| Pixels {
        size: [SIDE; 2],
        values: (0..3 * SIDE * SIDE).map(|j| value(i * 3 * SIDE * SIDE + j)).collect(),
    };
    let images: Vec<Pixels> = (0..batch).map(image).collect();
    for _line in stdin().lines() {
        let start = Instant::now();
        swin.encode(&images.iter().collect::<Vec<_>>())?;
        println!("{:.6}", start.elapsed().as_secs_f64());
    }
    Ok(())
}
