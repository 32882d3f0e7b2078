# Evaluates machines with the options that they set and no more, and writes their units: to
# look at, since what they run isn't built.
{
  lib,
  pkgs,
  runCommand,
  writeText,
  name,
  nodes,
}:
let
  inherit (lib) mkOption types;
  anything = mkOption {
    type = types.submodule { freeformType = types.anything; };
    default = { };
  };
  machine =
    module:
    (lib.evalModules {
      specialArgs = { inherit pkgs; };
      modules = [
        module
        {
          options = {
            assertions = mkOption { type = types.listOf types.anything; };
            environment = anything;
            services = {
              mailpit = anything;
              postgresql = anything;
              rabbitmq = anything;
            };
            systemd.services = mkOption { type = types.attrsOf types.anything; };
            users = anything;
            virtualisation = anything;
          };
        }
      ];
    }).config;

  line =
    name: value:
    if lib.isList value then
      lib.concatMapStrings (line name) value
    else
      "${name}=${if lib.isBool value then lib.boolToString value else toString value}\n";
  lines = values: lib.concatStrings (lib.mapAttrsToList line values);
  text = unitName: service: ''
    [Unit]
    ${lines {
      Description = service.description or unitName;
      Wants = service.wants or [ ];
      After = service.after or [ ];
    }}
    [Service]
    ${lines (
      {
        Environment = lib.mapAttrsToList (name: value: "\"${name}=${value}\"") (service.environment or { });
      }
      // service.serviceConfig
    )}
  '';
  unit = unitName: service: ''
    cp ${writeText unitName (builtins.unsafeDiscardStringContext (text unitName service))} $out/${unitName}.service
  '';
  units =
    config:
    let
      failed = lib.filter (assertion: !assertion.assertion) config.assertions;
    in
    lib.throwIf (failed != [ ]) (lib.concatMapStringsSep "\n" (each: each.message) failed) (
      lib.concatStrings (lib.mapAttrsToList unit config.systemd.services)
    );
in
runCommand name { } (
  "mkdir $out\n" + lib.concatMapStrings (node: units (machine node)) (lib.attrValues nodes)
)
