//! Image files to RGB bytes, with the bytes that Pillow's `Image.open(path).convert("RGB")` gives: alpha is dropped, grey repeated,
//! the rotation that a camera noted ignored.
//!
//! JPEG has a decoder of its own, whose bytes are those of libjpeg-turbo. The one of the crate image interpolates colours in another
//! way: of a photograph with halved colours, every tenth byte is off by more than 1.

use crate::error::{Error, Result};
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader};
use libjpeg_turbo_rs::{Decoder, JpegError, PixelFormat};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// Pixels of an image at most: a small file can claim any number.
pub const LARGEST: usize = 100_000_000;
/// Bytes of a file at most.
const LARGEST_FILE: u64 = 256 << 20;

/// Pixels of three bytes, row by row from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    /// \[height, width\]
    pub size: [usize; 2],
    pub bytes: Vec<u8>,
}

/// The first picture of a file.
///
/// # Errors
/// A file that is no PNG, JPEG, WebP or GIF image, is damaged or cut, or has more than [`LARGEST`] pixels.
pub fn read(path: &Path) -> Result<Rgb> {
    let mut data = vec![];
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut data).map_err(Error::io(path, "read"))?;
    decode(&data).map_err(|found| Error::Input {
        path: path.to_path_buf(),
        line: None,
        column: None,
        found,
        expected: "a PNG, JPEG, WebP or GIF image (with --skip-bad one that cannot be read is missing)".into(),
    })
}

/// The error says what was found instead.
fn decode(data: &[u8]) -> Result<Rgb, String> {
    if data.len() as u64 > LARGEST_FILE {
        return Err(format!("more than {} MiB", LARGEST_FILE >> 20));
    }
    match image::guess_format(data) {
        Ok(ImageFormat::Jpeg) => jpeg(data),
        Ok(format @ (ImageFormat::Png | ImageFormat::WebP | ImageFormat::Gif)) => other(data, format),
        Ok(format) => Err(format!("a file of the kind {format:?}")),
        Err(_) if data.is_empty() => Err("an empty file".into()),
        Err(_) => Err("a file that is no image of a known kind".into()),
    }
}

/// An error for more pixels than are taken.
fn check_size(width: u64, height: u64) -> Result<[usize; 2], String> {
    match width.checked_mul(height).filter(|&pixels| pixels > 0 && pixels <= LARGEST as u64) {
        Some(_) => Ok([height as usize, width as usize]),
        None => Err(format!("an image of {width} x {height} pixels, where 1 to {LARGEST} are taken")),
    }
}

fn jpeg(data: &[u8]) -> Result<Rgb, String> {
    let failed = |e: JpegError| format!("a JPEG image that cannot be decoded ({e})");
    let mut decoder = Decoder::new(data).map_err(failed)?;
    let (header, components) = (decoder.header(), decoder.header().components.len());
    let size = check_size(header.width.into(), header.height.into())?;
    decoder.set_output_format(if components == 4 { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    let bytes = decoder.decode_image().map_err(failed)?.data;
    let bytes = if components == 4 { bytes.as_chunks().0.iter().flat_map(of_inverted_cmyk).collect() } else { bytes };
    Ok(Rgb { size, bytes })
}

/// Four inks, stored inverted as Adobe has them, which Pillow takes for granted.
fn of_inverted_cmyk(&[c, m, y, k]: &[u8; 4]) -> [u8; 3] {
    let light = u32::from(k);
    [c, m, y].map(|ink| {
        let product = (255 - u32::from(ink)) * light + 128;
        light.saturating_sub(((product >> 8) + product) >> 8) as u8
    })
}

fn other(data: &[u8], format: ImageFormat) -> Result<Rgb, String> {
    let failed = |e: image::ImageError| {
        format!("a {} image that cannot be decoded ({e})", format.extensions_str()[0].to_uppercase())
    };
    let mut reader = ImageReader::with_format(Cursor::new(data), format);
    // Before the size is known, a decoder may reserve memory for what a header claims.
    reader.limits(limits());
    let decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    let size = check_size(width.into(), height.into())?;
    // Of 16 bits Pillow keeps the upper 8, but of grey it takes what is above 255 for 255.
    let cut_off = decoder.original_color_type() == ExtendedColorType::L16;
    let high = |v: u16| (v >> 8) as u8;
    let grey = |v: u16| if cut_off { v.min(255) as u8 } else { high(v) };
    let bytes: Vec<u8> = match DynamicImage::from_decoder(decoder).map_err(failed)? {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageRgba8(image) => image.pixels().flat_map(|p| [p[0], p[1], p[2]]).collect(),
        DynamicImage::ImageLuma8(image) => image.pixels().flat_map(|p| [p[0]; 3]).collect(),
        DynamicImage::ImageLumaA8(image) => image.pixels().flat_map(|p| [p[0]; 3]).collect(),
        DynamicImage::ImageLuma16(image) => image.pixels().flat_map(|p| [grey(p[0]); 3]).collect(),
        DynamicImage::ImageLumaA16(image) => image.pixels().flat_map(|p| [grey(p[0]); 3]).collect(),
        DynamicImage::ImageRgb16(image) => image.pixels().flat_map(|p| p.0.map(high)).collect(),
        DynamicImage::ImageRgba16(image) => image.pixels().flat_map(|p| [high(p[0]), high(p[1]), high(p[2])]).collect(),
        image => return Err(format!("pixels of type {:?}", image.color())),
    };
    Ok(Rgb { size, bytes })
}

fn limits() -> image::Limits {
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(2 << 30);
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use libjpeg_turbo_rs::{Subsampling, compress, compress_progressive};

    /// The same coefficients in one scan and in several, with colours of half the width and height.
    #[test]
    fn jpeg_of_several_scans() {
        let [height, width] = [29, 43];
        let pixels: Vec<u8> = (0..3 * height * width).map(|i| (i * i / 7 % 251) as u8).collect();
        type Encode = fn(&[u8], usize, usize, PixelFormat, u8, Subsampling) -> libjpeg_turbo_rs::Result<Vec<u8>>;
        let encode = |f: Encode| f(&pixels, width, height, PixelFormat::Rgb, 80, Subsampling::S420).unwrap();
        let image = decode(&encode(compress)).unwrap();
        assert_eq!((image.size, image.bytes.len()), ([height, width], pixels.len()));
        assert_eq!(decode(&encode(compress_progressive)).unwrap(), image);
    }

    /// As Pillow 12.3 converts pixels of mode CMYK that are stored inverted.
    #[test]
    fn inks() {
        let rgb = [[255; 4], [0; 4], [200, 100, 0, 128]].map(|pixel| of_inverted_cmyk(&pixel));
        assert_eq!(rgb, [[255, 255, 255], [0, 0, 0], [100, 50, 0]]);
    }

    #[test]
    fn grey_and_colours_of_16_bits() {
        let encode = |image: DynamicImage| {
            let mut bytes = Cursor::new(vec![]);
            image.write_to(&mut bytes, ImageFormat::Png).unwrap();
            decode(&bytes.into_inner()).unwrap().bytes
        };
        let grey = image::ImageBuffer::from_raw(3, 1, vec![7u16, 255, 1000]).unwrap();
        assert_eq!(encode(DynamicImage::ImageLuma16(grey)), [7, 7, 7, 255, 255, 255, 255, 255, 255]);
        let colours = image::ImageBuffer::from_raw(2, 1, vec![7u16, 255, 256, 1000, 65_279, 65_535]).unwrap();
        assert_eq!(encode(DynamicImage::ImageRgb16(colours)), [0, 0, 1, 3, 254, 255]);
        let alpha = image::ImageBuffer::from_raw(1, 1, vec![9u8, 8, 7, 0]).unwrap();
        assert_eq!(encode(DynamicImage::ImageRgba8(alpha)), [9, 8, 7]);
    }
}
