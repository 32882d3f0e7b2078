# The images: one static program, root certificates and an empty data folder. They contain no shell
# and no system users, and are reproducible.
{
  lib,
  runCommand,
  dockerTools,
  programs,
  revision,
}:
let
  # The listeners of each program.
  ports = {
    auth = {
      AUTH = 8005;
      ADMIN = 9005;
    };
    api = {
      API = 8000;
      ADMIN = 9000;
    };
    worker = {
      ADMIN = 9001;
    };
    miniapp = {
      API = 8000;
      AUTH = 8005;
      ADMIN = 9000;
    };
  };
  user = "65532:65532";

  image =
    name: ports:
    let
      inherit (programs.${name}) version meta;
      # A reference would add another store path to the image.
      static = runCommand "${name}-static-${version}" { allowedReferences = [ ]; } ''
        install -D --target-directory $out/bin ${programs.${name}}/bin/${name}
      '';
      stream = dockerTools.streamLayeredImage {
        name = "miniapp/${name}";
        tag = version;
        contents = [
          static
          dockerTools.caCertificates
        ];
        maxLayers = 8;
        fakeRootCommands = ''
          install --directory --owner 65532 --group 65532 data
          install --directory --mode 1777 tmp
        '';
        config = {
          Entrypoint = [ "/bin/${name}" ];
          User = user;
          WorkingDir = "/data";
          Volumes."/data" = { };
          Env = [
            "MINIAPP__DATA_DIR=/data"
          ]
          ++ lib.mapAttrsToList (
            listener: port: "MINIAPP__${listener}__LISTEN=0.0.0.0:${toString port}"
          ) ports;
          ExposedPorts = lib.mapAttrs' (_: port: lib.nameValuePair "${toString port}/tcp" { }) ports;
          Labels = {
            "org.opencontainers.image.title" = name;
            "org.opencontainers.image.description" = meta.description;
            "org.opencontainers.image.version" = version;
            "org.opencontainers.image.revision" = revision;
            "org.opencontainers.image.licenses" = "Apache-2.0";
          };
        };
      };
    in
    stream
    // {
      # Built on the builder, for systems that cannot run the program that writes the image.
      archive = runCommand "${name}.tar" { } "${stream} >$out";
    };
in
{
  all = lib.mapAttrs image ports;
}
