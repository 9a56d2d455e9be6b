//! Attaching the BPF programs of each signal, in the first variant that the kernel is made for and accepts.

use aya::programs::{Program, ProgramError, RawTracePoint, TracePoint};
use m8refsvr_common::signal::Variant;

use crate::bpf::{
    aya_error::program_refused,
    error::KernelError,
    layout::Layout,
    loader::Loaded,
    variants::{BlockVariant, SwitchVariant, lifecycle},
};

/// The outcome of attaching the BPF programs of one signal.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    /// [`Variant::None`] where nothing was attached.
    pub(crate) variant: Variant,
    /// Why nothing could be attached.
    pub(crate) problem: Option<String>,
}

impl Attached {
    /// Nothing was attached, for this reason.
    pub(crate) fn not(problem: String) -> Self {
        Self { variant: Variant::None, problem: Some(problem) }
    }
}

impl Loaded {
    /// Follows processes as they start and end, for which switches must be counted.
    pub(crate) fn attach_lifecycle(&mut self, layout: &Layout) -> Attached {
        let outcome = if layout.can_follow {
            self.attach_sched(layout, lifecycle).map_err(|error| error.to_string())
        } else {
            Err("the kernel's BTF does not show what is needed".to_owned())
        };
        match outcome {
            Ok(()) => Attached { variant: Variant::RawTracepoint, problem: None },
            Err(problem) => Attached::not(problem),
        }
    }

    /// Attaches the first of the variants that the kernel is made for and accepts.
    pub(crate) fn attach_switches(&mut self, variants: &[SwitchVariant], layout: &Layout) -> Attached {
        self.attach_first(
            variants,
            |variant| variant.fits(layout),
            SwitchVariant::attachment,
            |loaded, variant| loaded.attach_sched(layout, |is_classic| variant.programs(is_classic)),
        )
    }

    /// As [`Self::attach_switches`], for block I/O.
    pub(crate) fn attach_block(&mut self, variants: &[BlockVariant], layout: &Layout) -> Attached {
        self.attach_first(
            variants,
            |variant| variant.fits(layout),
            BlockVariant::attachment,
            |loaded, variant| loaded.attach("block", &variant.programs()),
        )
    }

    fn attach_first<V: Copy + std::fmt::Debug>(
        &mut self,
        variants: &[V],
        fits: impl Fn(V) -> Result<(), &'static str>,
        attachment: impl Fn(V) -> Variant,
        attach: impl Fn(&mut Self, V) -> Result<(), KernelError>,
    ) -> Attached {
        let mut problems = Vec::new();
        for &variant in variants {
            let outcome = fits(variant)
                .map_err(str::to_owned)
                .and_then(|()| attach(self, variant).map_err(|error| error.to_string()));
            let Err(problem) = outcome else {
                tracing::debug!("attached: {variant:?}");
                return Attached { variant: attachment(variant), problem: None };
            };
            tracing::debug!("{variant:?} can't be used: {problem}");
            // A reason that several of them have is reported once.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        let problem = (!problems.is_empty()).then(|| problems.join("; "));
        Attached { variant: Variant::None, problem }
    }

    /// Attaches BPF programs of the scheduler; those that have a classic variant in that variant, where it is preferred
    /// and not refused: Debian's and Ubuntu's kernels want `CAP_SYS_ADMIN` for them unless a sysctl is lower.
    fn attach_sched<const N: usize>(
        &mut self,
        layout: &Layout,
        programs: impl Fn(bool) -> [(&'static str, &'static [&'static str]); N],
    ) -> Result<(), KernelError> {
        if layout.prefers_classic {
            match self.attach("sched", &programs(true)) {
                Ok(()) => return Ok(()),
                Err(error) => tracing::debug!("classic tracepoints can't be used: {error}"),
            }
        }
        self.attach("sched", &programs(false))
    }

    /// Attaches BPF programs to their tracepoints: all of them, or none.
    fn attach(
        &mut self,
        category: &str,
        programs: &[(&'static str, &'static [&'static str])],
    ) -> Result<(), KernelError> {
        let outcome = programs.iter().try_for_each(|(name, tracepoints)| {
            let missing = || KernelError::Object(format!("the program {name} is missing in it"));
            let outcome = match self.ebpf.program_mut(name).ok_or_else(missing)? {
                Program::RawTracePoint(program) => attach_raw(program, tracepoints),
                Program::TracePoint(program) => attach_classic(program, category, tracepoints),
                _ => return Err(missing()),
            };
            outcome.map_err(|error| program_refused(name, &error))
        });
        if outcome.is_ok() {
            self.attached.extend(programs);
        } else {
            for (name, _) in programs {
                // Those that were not loaded yet say so, and need nothing.
                let _ = match self.ebpf.program_mut(name) {
                    Some(Program::RawTracePoint(program)) => program.unload(),
                    Some(Program::TracePoint(program)) => program.unload(),
                    _ => Ok(()),
                };
            }
        }
        outcome
    }
}

fn attach_raw(program: &mut RawTracePoint, tracepoints: &[&str]) -> Result<(), ProgramError> {
    program.load()?;
    tracepoints.iter().try_for_each(|tracepoint| program.attach(tracepoint).map(|_| ()))
}

fn attach_classic(
    program: &mut TracePoint,
    category: &str,
    tracepoints: &[&str],
) -> Result<(), ProgramError> {
    program.load()?;
    tracepoints.iter().try_for_each(|tracepoint| program.attach(category, tracepoint).map(|_| ()))
}
