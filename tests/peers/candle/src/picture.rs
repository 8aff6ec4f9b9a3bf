//! The U-Net and the autoencoder of Stable Diffusion 1.5.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_transformers::models::stable_diffusion::{unet_2d, vae};

/// Pixels a latent pixel stands for, in each direction.
const FACTOR: usize = 8;

/// Seconds: `step`, the better of two runs, and `vae`.
pub fn measure(width: usize, height: usize, dtype: &str) -> Result<Vec<(String, f64)>> {
    let dtype = match dtype {
        "f32" => DType::F32,
        "f16" => DType::F16,
        other => bail!("{other} is neither f32 nor f16"),
    };
    let (w, h) = (width / FACTOR, height / FACTOR);
    let mut figures = Vec::new();
    match step(w, h, dtype) {
        Ok(seconds) => figures.push(("step".into(), seconds)),
        Err(error) => eprintln!("candle's U-Net does not run at {width}x{height}: {error:#}"),
    }
    let vae = autoencoder(dtype)?;
    let latent = random((1, 4, h, w), dtype)?;
    let began = Instant::now();
    black_box(vae.decode(&latent)?);
    figures.push(("vae".into(), began.elapsed().as_secs_f64()));
    Ok(figures)
}

/// The U-Net for two pictures, the better of two runs.
fn step(w: usize, h: usize, dtype: DType) -> Result<f64> {
    let unet = unet(w * h, dtype)?;
    let sample = random((2, 4, h, w), dtype)?;
    let context = random((2, 77, 768), dtype)?;
    let mut best = f64::INFINITY;
    for _ in 0..2 {
        let began = Instant::now();
        black_box(unet.forward(&sample, 500.0, &context)?);
        best = best.min(began.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn random(shape: impl Into<candle_core::Shape>, dtype: DType) -> Result<Tensor> {
    Ok(Tensor::randn(0f32, 1.0, shape, &Device::Cpu)?.to_dtype(dtype)?)
}

fn unet(positions: usize, dtype: DType) -> Result<unet_2d::UNet2DConditionModel> {
    let block = |out_channels, use_cross_attn| unet_2d::BlockConfig {
        out_channels,
        use_cross_attn,
        attention_head_dim: 8,
    };
    let config = unet_2d::UNet2DConditionModelConfig {
        blocks: vec![
            block(320, Some(1)),
            block(640, Some(1)),
            block(1280, Some(1)),
            block(1280, None),
        ],
        cross_attention_dim: 768,
        // Above 512x512 all heads' scores at once are more than a machine has (1024x1024 for two pictures: 17 GB, several times): head by head.
        sliced_attention_size: (positions > 64 * 64).then_some(1),
        ..Default::default()
    };
    constant(dtype, |builder| {
        unet_2d::UNet2DConditionModel::new(builder, 4, 4, false, config.clone())
    })
}

fn autoencoder(dtype: DType) -> Result<vae::AutoEncoderKL> {
    let config = vae::AutoEncoderKLConfig {
        block_out_channels: vec![128, 256, 512, 512],
        layers_per_block: 2,
        latent_channels: 4,
        norm_num_groups: 32,
        ..Default::default()
    };
    constant(dtype, |builder| {
        vae::AutoEncoderKL::new(builder, 3, 3, config.clone())
    })
}

/// A network of random weights that are no variables: of those candle would keep every value on the way, for gradients that nobody asks for.
fn constant<T>(
    dtype: DType,
    build: impl Fn(VarBuilder<'_>) -> candle_core::Result<T>,
) -> Result<T> {
    let variables = VarMap::new();
    build(VarBuilder::from_varmap(&variables, dtype, &Device::Cpu))?;
    let Ok(data) = variables.data().lock() else {
        bail!("the weights are locked")
    };
    let weights: HashMap<String, Tensor> = data
        .iter()
        .map(|(name, variable)| (name.clone(), variable.as_detached_tensor()))
        .collect();
    Ok(build(VarBuilder::from_tensors(
        weights,
        dtype,
        &Device::Cpu,
    ))?)
}
