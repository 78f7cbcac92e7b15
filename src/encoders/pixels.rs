//! Images as a vision model reads them: decoded, resized, cropped, scaled and normalised as a folder's
//! `preprocessor_config.json` says.

pub mod decode;
pub mod resize;

use super::{json, shortened, wrong};
use crate::error::Result;
use decode::{LARGEST, Rgb};
use resize::Filter;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What a model is given of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    /// \[height, width\]
    pub size: [usize; 2],
    /// \[3, height, width\]
    pub values: Vec<f32>,
}

/// The steps from an image file to [`Pixels`].
#[derive(Clone, Debug)]
pub struct Preprocessor {
    path: PathBuf,
    resize: Option<(Target, Filter)>,
    /// \[height, width\] of the middle that is kept.
    crop: Option<[usize; 2]>,
    /// What each byte of a channel becomes.
    values: Box<[[f32; 256]; 3]>,
}

/// The size that images are brought to, in any of the forms that transformers has had.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "a size: a number, [height, width], {height, width} or {shortest_edge}")]
enum Size {
    Number(usize),
    Pair([usize; 2]),
    Exact(Exact),
    Shortest(Shortest),
}

/// \[height, width\], or the shorter side, to which the other is in proportion.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    Exact([usize; 2]),
    Shortest(usize),
}

impl Size {
    /// A number alone is the side of a `square`, or the shorter side.
    fn target(self, square: bool) -> Target {
        match self {
            Size::Number(n) if square => Target::Exact([n, n]),
            Size::Number(n) | Size::Shortest(Shortest { shortest_edge: n }) => Target::Shortest(n),
            Size::Pair(size) => Target::Exact(size),
            Size::Exact(Exact { height, width }) => Target::Exact([height, width]),
        }
    }
}

impl Target {
    /// The smallest size that an image can be brought to.
    fn least(self) -> [usize; 2] {
        match self {
            Target::Exact(size) => size,
            Target::Shortest(n) => [n, n],
        }
    }

    /// The size that an image of \[height, width\] is brought to. Sides and numbers are at most [`LARGEST`], so no product overflows.
    fn of(self, [height, width]: [usize; 2]) -> [usize; 2] {
        match self {
            Target::Exact(size) => size,
            Target::Shortest(n) if width <= height => [n * height / width, n],
            Target::Shortest(n) => [n, n * width / height],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exact {
    height: usize,
    width: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shortest {
    shortest_edge: usize,
}

/// The keys of the file that change a pixel, and two of steps that only other processors have.
#[derive(Deserialize)]
struct File {
    #[serde(alias = "feature_extractor_type")]
    image_processor_type: Option<String>,
    do_resize: Option<bool>,
    size: Option<Size>,
    resample: Option<u64>,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<[f64; 3]>,
    image_std: Option<[f64; 3]>,
    do_pad: Option<bool>,
    crop_pct: Option<f64>,
}

/// The processors whose steps these are, and what each does where the file says nothing.
struct Defaults {
    name: &'static str,
    /// Whether a size of one number is that of a square.
    square: bool,
    crop: bool,
    resample: u64,
}

const PROCESSORS: [Defaults; 4] = [
    Defaults { name: "ViT", square: true, crop: false, resample: 2 },
    Defaults { name: "DeiT", square: true, crop: true, resample: 3 },
    Defaults { name: "Bit", square: false, crop: true, resample: 3 },
    Defaults { name: "CLIP", square: false, crop: true, resample: 3 },
];

impl Preprocessor {
    /// The file that says how, in the folder of a model.
    pub fn file(folder: &Path) -> PathBuf {
        folder.join("preprocessor_config.json")
    }

    /// Reads `preprocessor_config.json` in the folder of a model.
    ///
    /// # Errors
    /// A file that is missing or no JSON, or has a step or a value that is not supported.
    pub fn open(folder: &Path) -> Result<Preprocessor> {
        let path = Preprocessor::file(folder);
        let file = serde_json::from_value(json(&path)?)
            .map_err(|e| wrong(&path, e, "the settings of an image processor of transformers"))?;
        Preprocessor::of(path, file)
    }

    fn of(path: PathBuf, file: File) -> Result<Preprocessor> {
        let fail = |found: String, expected: &str| Err(wrong(&path, found, expected));
        let given = file.image_processor_type.as_deref().unwrap_or("ViTImageProcessor");
        let endings = ["ImageProcessorFast", "ImageProcessor", "FeatureExtractor"];
        let name = endings.iter().find_map(|ending| given.strip_suffix(ending));
        let Some(kind) = PROCESSORS.iter().find(|kind| Some(kind.name) == name) else {
            let found = format!("image_processor_type {:?}", shortened(given));
            return fail(found, "ViTImageProcessor, DeiTImageProcessor, BitImageProcessor or CLIPImageProcessor");
        };
        if file.do_pad == Some(true) || file.crop_pct.is_some() {
            return fail("do_pad or crop_pct".into(), "no steps but resize, center crop, rescale and normalize");
        }
        let size = |key: &str, size: Option<Size>| {
            let target = size.unwrap_or(Size::Number(224)).target(key == "crop_size" || kind.square);
            let [height, width] = target.least();
            match height.checked_mul(width).is_some_and(|pixels| pixels > 0 && pixels <= LARGEST) {
                true => Ok(target),
                false => Err(wrong(&path, format!("{key} {height} x {width}"), format!("1 to {LARGEST} pixels"))),
            }
        };
        let resize = match (file.do_resize.unwrap_or(true), file.resample.unwrap_or(kind.resample)) {
            (false, _) => None,
            (true, number) => match Filter::numbered(number) {
                Some(filter) => Some((size("size", file.size)?, filter)),
                None => return fail(format!("resample {number}"), "1 (Lanczos), 2 (bilinear) or 3 (bicubic)"),
            },
        };
        let crop = match file.do_center_crop.unwrap_or(kind.crop) {
            false => None,
            true => Some(size("crop_size", file.crop_size)?.least()),
        };
        let factor = if file.do_rescale.unwrap_or(true) { file.rescale_factor.unwrap_or(1.0 / 255.0) } else { 1.0 };
        let (mean, std) = match (file.do_normalize.unwrap_or(true), file.image_mean, file.image_std) {
            (false, ..) => ([0.0; 3], [1.0; 3]),
            (true, Some(mean), Some(std)) => (mean, std),
            (true, ..) if kind.name == "ViT" => {
                (file.image_mean.unwrap_or([0.5; 3]), file.image_std.unwrap_or([0.5; 3]))
            }
            _ => return fail("no image_mean or no image_std".into(), "both, three numbers each"),
        };
        // The product is taken in f64 and the rest in f32, as transformers does.
        let value = |c: usize, byte: usize| ((byte as f64 * factor) as f32 - mean[c] as f32) / std[c] as f32;
        let values: [[f32; 256]; 3] = std::array::from_fn(|c| std::array::from_fn(|byte| value(c, byte)));
        if values.iter().flatten().any(|v| !v.is_finite()) {
            let found = format!("rescale_factor {factor}, image_mean {mean:?} and image_std {std:?}");
            return fail(found, "finite numbers, and no standard deviation of 0");
        }
        Ok(Preprocessor { path, resize, crop, values: Box::new(values) })
    }

    /// The pixels of an image file.
    ///
    /// # Errors
    /// A file that is no image that can be read; one that is so long and narrow that it would become too large.
    pub fn read(&self, path: &Path) -> Result<Pixels> {
        let image = self.bytes(path)?;
        let planes = self.values.iter().enumerate();
        let values = planes.flat_map(|(c, values)| image.bytes.iter().skip(c).step_by(3).map(|&b| values[b as usize]));
        Ok(Pixels { size: image.size, values: values.collect() })
    }

    /// An image in the size that the model takes, before its bytes become numbers.
    ///
    /// # Errors
    /// Those of [`Preprocessor::read`].
    pub fn bytes(&self, path: &Path) -> Result<Rgb> {
        let mut image = decode::read(path)?;
        if let Some((target, filter)) = self.resize {
            let [height, width] = target.of(image.size);
            if height * width > LARGEST {
                let found = format!("an image of {} x {} pixels", image.size[1], image.size[0]);
                let by = self.path.display();
                return Err(wrong(
                    path,
                    found,
                    format!("one that is at most {LARGEST} pixels when {by} has resized it"),
                ));
            }
            image = resize::resize(image, [height, width], filter);
        }
        Ok(match self.crop {
            None => image,
            Some(size) => crop(&image, size),
        })
    }
}

/// The middle of an image, with black where it does not reach.
fn crop(image: &Rgb, size: [usize; 2]) -> Rgb {
    let [height, width] = size;
    let start = |n: usize, to: usize| (n as isize - to as isize).div_euclid(2);
    let [top, left] = [start(image.size[0], height), start(image.size[1], width)];
    let within = |i: usize, start: isize, n: usize| usize::try_from(i as isize + start).ok().filter(|&i| i < n);
    let mut bytes = vec![0; height * width * 3];
    for (i, row) in bytes.chunks_exact_mut(width * 3).enumerate() {
        let Some(y) = within(i, top, image.size[0]) else { continue };
        for (j, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            if let Some(x) = within(j, left, image.size[1]) {
                *pixel = image.bytes.as_chunks().0[y * image.size[1] + x];
            }
        }
    }
    Rgb { size, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn preprocessor(settings: Value) -> Result<Preprocessor> {
        Preprocessor::of("preprocessor_config.json".into(), serde_json::from_value(settings).unwrap())
    }

    #[test]
    fn sizes_in_all_forms() {
        let target = |settings: Value| preprocessor(settings).unwrap().resize.unwrap().0;
        assert_eq!(target(json!({})), Target::Exact([224, 224]));
        assert_eq!(target(json!({"size": 9, "feature_extractor_type": "ViTFeatureExtractor"})), Target::Exact([9, 9]));
        assert_eq!(target(json!({"size": {"height": 3, "width": 4}})), Target::Exact([3, 4]));
        let mean = json!([0.5, 0.5, 0.5]);
        let clip = json!({"image_processor_type": "CLIPImageProcessor", "size": 9, "crop_size": 6, "image_mean": mean, "image_std": mean});
        assert_eq!(preprocessor(clip.clone()).unwrap().crop, Some([6, 6]));
        let short = target(clip);
        assert_eq!((short, short.of([100, 33]), short.of([33, 100])), (Target::Shortest(9), [27, 9], [9, 27]));
        assert!(preprocessor(json!({"do_resize": false})).unwrap().resize.is_none());
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for (settings, found) in [
            (json!({"image_processor_type": "DonutImageProcessor"}), "image_processor_type \"DonutImageProcessor\""),
            (json!({"resample": 0}), "resample 0"),
            (json!({"size": 0}), "size 0 x 0"),
            (json!({"size": 1_000_000}), "size 1000000 x 1000000"),
            (json!({"image_std": [1, 0, 1]}), "image_std [1.0, 0.0, 1.0]"),
            (json!({"do_pad": true}), "do_pad or crop_pct"),
            (json!({"image_processor_type": "BitImageProcessor"}), "no image_mean or no image_std"),
        ] {
            let error = preprocessor(settings).unwrap_err();
            assert!(error.to_string().contains(found), "{error}");
        }
    }

    #[test]
    fn the_middle_with_black_around() {
        let image = Rgb { size: [2, 3], bytes: (1..=18).collect() };
        assert_eq!(crop(&image, [2, 1]).bytes, [4, 5, 6, 13, 14, 15]);
        let padded = crop(&image, [3, 3]).bytes;
        assert_eq!((&padded[..9], &padded[9..]), (&[0; 9][..], &image.bytes[..]));
    }
}
