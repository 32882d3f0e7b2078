use miniapp_config::SectionCheck;
use miniapp_telemetry::ProgramInfo;

/// What distinguishes one program from another. Each program defines its own constant.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The command's name, which is also the service's name in logs, traces and metrics.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// The admin listener's port if `admin.listen` sets none.
    pub admin_port: u16,
    /// The sections of the configuration that the program reads, besides the [`SECTIONS`] of
    /// every program.
    ///
    /// [`SECTIONS`]: crate::SECTIONS
    pub sections: &'static [SectionCheck],
    pub version: &'static str,
    /// The commit that the program was built from. Release builds set it.
    pub revision: Option<&'static str>,
    /// Whether recent traces stay in memory even if they are exported.
    pub keeps_traces: bool,
}

impl Program {
    /// Returns the version for `--version`, with the commit if it is known.
    pub fn full_version(&self) -> String {
        match self.revision {
            Some(revision) => format!("{} ({revision})", self.version),
            None => self.version.to_owned(),
        }
    }

    /// Returns what its telemetry says about the program.
    pub fn info(&self) -> ProgramInfo {
        ProgramInfo {
            service: self.name,
            version: self.version,
            revision: self.revision,
            keeps_traces: self.keeps_traces,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_version_includes_a_known_revision() {
        let program = Program {
            name: "example",
            about: "An example",
            admin_port: 9000,
            sections: &[],
            version: "1.2.3",
            revision: None,
            keeps_traces: false,
        };
        assert_eq!(program.full_version(), "1.2.3");
        assert_eq!(Program { revision: Some("abc"), ..program }.full_version(), "1.2.3 (abc)");
    }
}
