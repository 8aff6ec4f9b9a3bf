//! Orders: what the form says, made into requests and queued. Lists of words and the states of steps are read by another thread.

use std::sync::Arc;

use diptych_inference::engine::{ImageRequest, Request};
use diptych_inference::text::prompt::PromptSyntax;
use diptych_inference::text::prompt::variants::is_template;

use super::start::Quiet;
use super::steps::{self, Branching};
use super::{Create, CreateCommand, Shown, form};
use crate::library::records::Target;
use crate::studio::command::UiCommand;
use crate::studio::create::form::SeedMode;
use crate::studio::house::House;
use crate::studio::log::Level;
use crate::wildcards::Wildcards;

/// Requests that are ready to be queued.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    requests: Vec<ImageRequest>,
    target: Target,
    front: bool,
    /// Where a branch begins.
    state: Option<Quiet<[u8]>>,
    /// What could not be taken as meant.
    remarks: Vec<String>,
    /// Why the state could not be read.
    trouble: Option<String>,
}

/// Whether a request's prompts leave something open.
fn is_open(request: &ImageRequest) -> bool {
    request.prompt_syntax != PromptSyntax::None
        && (is_template(&request.prompt) || is_template(&request.negative_prompt))
}

impl Create {
    /// Draws what the form says, as soon as all that it needs is there.
    pub(super) fn generate(&mut self, front: bool, house: &mut House) {
        let Some(model) = self.form.model(house) else {
            return;
        };
        let size = match &self.branching {
            Some(branching) => (branching.request.width, branching.request.height),
            None => self.form.size(model),
        };
        let start = self.form.start.clone();
        let plan = start.as_ref().map(|start| start.plan(size));
        let mut init = None;
        if let Some((start, plan)) = start.zip(plan) {
            let Some(ready) = self.ready(&plan, front, house) else {
                return;
            };
            self.hand_over(&ready, house);
            init = Some(start.init(&ready));
        }
        if let Some(branching) = &self.branching
            && let Some(before) = &branching.request.init
            && let Some(init) = &mut init
        {
            // These cannot change within a picture.
            init.strength = before.strength;
            init.picture.clone_from(&before.picture);
        }
        if self.form.seed_mode == SeedMode::Random {
            self.form.seed = crate::origin::new_seed();
        }
        self.undo.mark(&self.form);
        let Some(model) = self.form.model(house) else {
            return;
        };
        let branching = self.branching.as_ref();
        let count = match branching {
            Some(_) => 1,
            None => self.form.count.clamp(1, form::MOST_PICTURES),
        };
        let requests: Vec<ImageRequest> = (0..count)
            .filter_map(|number| {
                let seed = self.form.seed.wrapping_add(u64::from(number));
                let mut request = self.form.request(model, seed)?;
                request.init.clone_from(&init);
                Some(match branching {
                    Some(branching) => branching.request(request),
                    None => request,
                })
            })
            .collect();
        let target = match branching {
            Some(Branching { of, step, .. }) => {
                let (of, step) = (*of, *step);
                Target::Branch { of, step }
            }
            None => Target::Gallery,
        };
        let order = Order {
            requests,
            target,
            front,
            state: None,
            remarks: Vec::new(),
            trouble: None,
        };
        let waits = branching.is_some() || order.requests.iter().any(is_open);
        self.remarks.clear();
        self.remember(&self.form.prompt.clone());
        match waits {
            true => self.prepare(order, house),
            false => self.queue(order, house),
        }
    }

    /// Has a thread read what the order needs.
    fn prepare(&mut self, mut order: Order, house: &mut House) {
        let lists = Wildcards::new(house.wildcards());
        let (folder, reply) = (house.data.clone(), house.reply());
        let spawned = std::thread::Builder::new()
            .name("diptych-order".into())
            .spawn(move || {
                for request in &mut order.requests {
                    for remark in lists.apply(request) {
                        if !order.remarks.contains(&remark) {
                            order.remarks.push(remark);
                        }
                    }
                }
                if let Target::Branch { of, step } = order.target {
                    match steps::state(&folder, of, step) {
                        Ok(state) => order.state = Some(Quiet(state)),
                        Err(reason) => order.trouble = Some(reason),
                    }
                }
                let command = CreateCommand::Ordered(Box::new(order));
                reply.command(UiCommand::Create(command));
            });
        match spawned {
            Ok(_) => self.ordering += 1,
            Err(error) => {
                let text = format!("the system gives no thread: {error}");
                house
                    .log
                    .notify(Level::Error, "Nothing can be drawn now", text);
            }
        }
    }

    /// An order has been made ready by a thread.
    pub(super) fn ordered(&mut self, order: Order, house: &mut House) {
        self.ordering = self.ordering.saturating_sub(1);
        if let Some(reason) = &order.trouble {
            steps::tell_slow_way(house, reason.clone());
        }
        self.queue(order, house);
    }

    fn queue(&mut self, order: Order, house: &mut House) {
        for remark in order.remarks {
            if !self.remarks.contains(&remark) {
                self.remarks.push(remark);
            }
        }
        // Each one goes before the others; the first is to be drawn first all the same.
        let mut requests = order.requests;
        if order.front {
            requests.reverse();
        }
        let state: Option<Arc<[u8]>> = order.state.map(|state| state.0);
        for request in requests {
            let request = Request::Image(request);
            house.submit_branch(request, order.target.clone(), order.front, state.clone());
        }
        self.shown = Shown::Newest;
        self.guest = None;
        self.paint.close();
    }
}
