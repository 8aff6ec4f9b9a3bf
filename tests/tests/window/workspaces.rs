//! The four workspaces as they look, in both themes at two sizes. `UPDATE_SNAPSHOTS=1` renews the pictures in
//! `tests/snapshots/workspaces`.

use std::path::Path;
use std::sync::Arc;

use diptych::library::records::*;
use diptych::library::{Library, NewPicture};
use diptych::studio::command::AppCommand;
use diptych::studio::create::SeedMode;
use diptych::studio::view::Workspace;
use diptych_inference::engine::{FinishReason, ImageRequest, ModelRef, Picture};
use diptych_inference::text::sampling::SamplingParams;
use diptych_tests::window::{Bench, Setup};
use egui_kittest::SnapshotOptions;

/// Stripes of two colours: pictures that every machine draws alike.
fn stripes(a: [u8; 3], b: [u8; 3]) -> Arc<Picture> {
    const SIDE: u32 = 64;
    let pixel = |i: u32| {
        if (i % SIDE / 8 + i / SIDE / 8).is_multiple_of(2) {
            a
        } else {
            b
        }
    };
    Arc::new(Picture {
        width: SIDE,
        height: SIDE,
        rgb: (0..SIDE * SIDE).flat_map(pixel).collect(),
    })
}

/// A library with three pictures and a conversation.
fn furnish(data: &Path) {
    let mut library = Library::open(data, "window").unwrap();
    let model = ModelRef::named("sketch");
    for (seed, prompt, picture) in [
        (
            11,
            "a night sky with many stars",
            stripes([20, 24, 60], [40, 50, 110]),
        ),
        (
            23,
            "a field of poppies",
            stripes([200, 60, 50], [90, 140, 60]),
        ),
        (42, "a quiet sea", stripes([60, 130, 170], [150, 200, 210])),
    ] {
        let request = ImageRequest {
            steps: 20,
            guidance: 4.0,
            seed,
            ..ImageRequest::new(model.clone(), prompt, 64, 64)
        };
        library
            .save_picture(NewPicture {
                id: PictureId::new(),
                picture,
                request,
                steps_done: None,
                seconds: 0.5,
                grid: None,
                origin: None,
                done: None,
                file: None,
            })
            .unwrap();
    }
    let id = ConversationId::new();
    let mut parent = None;
    for (role, text) in [
        (Role::User, "What is a seed?"),
        (
            Role::Assistant,
            "The **seed** chooses the noise that a picture starts from.\n\n- the same seed and the same words: the same picture\n- another seed: another picture of the same words\n\n```\na red fox, flat style\n```",
        ),
    ] {
        let message = Message {
            id: MessageId::new(),
            conversation: id,
            parent,
            role,
            text: text.to_owned(),
            attachments: Vec::new(),
            state: MessageState::Done,
            info: (role == Role::Assistant).then(|| AnswerInfo {
                model: Some(ModelRef::named("muse")),
                prompt_tokens: 40,
                tokens: 60,
                context_length: 1024,
                first_token_seconds: 0.02,
                decode_seconds: 0.1,
                reason: Some(FinishReason::End),
                ..AnswerInfo::default()
            }),
            created: now(),
        };
        if parent.is_none() {
            library
                .put_conversation(&Conversation {
                    id,
                    title: "Seeds".to_owned(),
                    model: None,
                    system: String::new(),
                    sampling: SamplingParams::default(),
                    max_tokens: 200,
                    seed: None,
                    drop_old: false,
                    pinned: false,
                    created: now(),
                    changed: now(),
                    leaf: None,
                })
                .unwrap();
        }
        library.put_message(&message).unwrap();
        parent = Some(message.id);
    }
    let mut conversation = library.conversations().unwrap().remove(0);
    conversation.leaf = parent;
    library.put_conversation(&conversation).unwrap();
    library.put_draft("chat", "{}").unwrap();
}

fn look(name: &str, size: [f32; 2], theme: egui::Theme) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    furnish(&data);
    let mut bench = Bench::with(Setup {
        size,
        theme,
        data: Some(data),
        wait: true,
        ..Setup::default()
    })
    .unwrap();
    let options = SnapshotOptions::new()
        .threshold(2.0)
        .max_failed_pixels((size[0] * size[1] * 0.005) as usize)
        .output_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/workspaces"));
    {
        let studio = bench.harness.state_mut().studio_mut();
        studio.create.form.prompt = "a quiet sea, (flat style:1.2), [blue] background".to_owned();
        studio.create.form.seed = 42;
        studio.create.form.seed_mode = SeedMode::Locked;
        let setup = &mut studio.compare.grid.setup;
        setup.variants.clear();
        setup.seeds.clear();
        for prompt in ["a quiet sea at dawn", "a wild sea at night"] {
            setup.add_variant(prompt.to_owned());
        }
        for seed in [1, 2, 3] {
            setup.add_seed(seed);
        }
    }
    for workspace in Workspace::ALL {
        let studio = bench.harness.state_mut().studio_mut();
        studio.apply(AppCommand::Show(workspace).into());
        if workspace == Workspace::Chat
            && let Some(talk) = studio.chat.listed().first().map(|talk| talk.id())
        {
            studio.apply(diptych::studio::chat::ChatCommand::Open(talk).into());
        }
        // Thumbnails and messages come from other threads.
        for _ in 0..40 {
            std::thread::sleep(std::time::Duration::from_millis(10));
            bench.step();
        }
        let name = format!("{}_{name}", workspace.label().to_lowercase());
        bench.harness.snapshot_options(name, &options);
    }
}

#[test]
fn dark_and_large() {
    look("dark_large", [1600.0, 1000.0], egui::Theme::Dark);
}

#[test]
fn dark_and_small() {
    look("dark_small", [1024.0, 640.0], egui::Theme::Dark);
}

#[test]
fn light_and_large() {
    look("light_large", [1600.0, 1000.0], egui::Theme::Light);
}

#[test]
fn light_and_small() {
    look("light_small", [1024.0, 640.0], egui::Theme::Light);
}
