//! Undo of the form: changes that follow each other at once count as one.

use std::time::{Duration, Instant};

use super::form::{Form, SeedMode};

/// A form that has not changed for so long is a step to come back to.
const REST: Duration = Duration::from_millis(700);
/// Steps that are kept.
const MOST: usize = 200;

/// The forms before and after.
#[derive(Debug, Default)]
pub struct FormHistory {
    past: Vec<Form>,
    future: Vec<Form>,
    /// The last step.
    settled: Option<Form>,
    /// The form as it was last seen, and when it changed to that.
    seen: Option<(Form, Instant)>,
}

/// Seeds that were drawn by chance are no change of the person's.
fn same(a: &Form, b: &Form) -> bool {
    let random = a.seed_mode == SeedMode::Random && b.seed_mode == SeedMode::Random;
    if !random {
        return a == b;
    }
    let mut a = a.clone();
    a.seed = b.seed;
    a == *b
}

impl FormHistory {
    /// Begins anew with a form.
    pub fn begin(&mut self, form: &Form) {
        *self = Self {
            settled: Some(form.clone()),
            ..Self::default()
        };
    }

    /// Looks at the form. Tells how long until it has to be looked at again.
    pub fn watch(&mut self, form: &Form, now: Instant) -> Option<Duration> {
        let Some(settled) = &self.settled else {
            self.begin(form);
            return None;
        };
        if same(settled, form) {
            self.seen = None;
            return None;
        }
        match &self.seen {
            Some((seen, since)) if same(seen, form) => {
                let rested = now.saturating_duration_since(*since);
                if rested >= REST {
                    self.mark(form);
                    return None;
                }
                Some(REST - rested)
            }
            _ => {
                self.seen = Some((form.clone(), now));
                Some(REST)
            }
        }
    }

    /// Makes a step of what has changed until now, before or after something changes much at once.
    pub fn mark(&mut self, form: &Form) {
        self.seen = None;
        match &self.settled {
            Some(settled) if same(settled, form) => {}
            Some(settled) => {
                self.past.push(settled.clone());
                if self.past.len() > MOST {
                    self.past.remove(0);
                }
                self.future.clear();
                self.settled = Some(form.clone());
            }
            None => self.settled = Some(form.clone()),
        }
    }

    /// The form is the same as before, only more fully known: no step.
    pub fn amend(&mut self, form: &Form) {
        self.seen = None;
        self.settled = Some(form.clone());
    }

    /// Goes a step back, or forward again. Tells whether there was one.
    pub fn step(&mut self, back: bool, form: &mut Form) -> bool {
        self.mark(form);
        let (from, to) = if back {
            (&mut self.past, &mut self.future)
        } else {
            (&mut self.future, &mut self.past)
        };
        let Some(step) = from.pop() else {
            return false;
        };
        to.push(form.clone());
        self.settled = Some(step.clone());
        *form = step;
        true
    }

    /// Whether there is a step back, or forward.
    pub fn can(&self, back: bool, form: &Form) -> bool {
        let changed = self
            .settled
            .as_ref()
            .is_some_and(|settled| !same(settled, form));
        match back {
            true => changed || !self.past.is_empty(),
            false => !changed && !self.future.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(steps: u32) -> Form {
        Form {
            steps: Some(steps),
            ..Form::default()
        }
    }

    #[test]
    fn quick_changes_are_one_step() {
        let mut history = FormHistory::default();
        let start = Instant::now();
        let mut form = Form::default();
        history.watch(&form, start);
        for n in 1..10 {
            form = with(n);
            assert!(
                history
                    .watch(&form, start + Duration::from_millis(u64::from(n) * 50))
                    .is_some()
            );
        }
        history.watch(&form, start + Duration::from_secs(2));
        form = with(50);
        assert!(history.step(true, &mut form));
        assert_eq!(form, with(9));
        assert!(history.step(true, &mut form));
        assert_eq!(form, Form::default());
        assert!(!history.step(true, &mut form));
        assert!(history.step(false, &mut form) && history.step(false, &mut form));
        assert_eq!(form, with(50));
        assert!(!history.can(false, &form) && history.can(true, &form));
    }

    #[test]
    fn a_change_forgets_what_could_be_made_again() {
        let mut history = FormHistory::default();
        let mut form = Form::default();
        history.begin(&form);
        form = with(1);
        history.mark(&form);
        history.step(true, &mut form);
        form = with(2);
        assert!(!history.can(false, &form));
        assert!(history.step(true, &mut form));
        assert_eq!(form, Form::default());
    }

    #[test]
    fn chance_is_no_change() {
        let mut history = FormHistory::default();
        let mut form = Form::default();
        history.begin(&form);
        form.seed = 99;
        assert!(!history.can(true, &form));
        form.seed_mode = SeedMode::Locked;
        assert!(history.can(true, &form));
    }
}
