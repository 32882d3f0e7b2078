# Commands that load and push the images.
{
  lib,
  writeShellApplication,
  skopeo,
  kind,
  all,
}:
let
  # An image is a program that writes an archive to standard output.
  each = body: lib.concatMapStringsSep "\n" body (lib.attrValues all);
in
{
  load-images = writeShellApplication {
    name = "load-images";
    runtimeInputs = [ kind ];
    text = ''
      usage="load-images [--kind CLUSTER]: loads the images into Docker, or into a kind cluster"
      case "''${1:-}" in
        "") load() { docker load; } ;;
        --kind)
          archive=$(mktemp)
          trap 'rm -f "$archive"' EXIT
          load() {
            cat >"$archive"
            kind load image-archive --name "''${cluster:-kind}" "$archive"
          }
          cluster=''${2:-}
          ;;
        *) echo "$usage" >&2; exit 2 ;;
      esac
      ${each (image: "${image} | load")}
    '';
  };

  push-images = writeShellApplication {
    name = "push-images";
    runtimeInputs = [ skopeo ];
    text = ''
      registry=''${1:?usage: push-images REGISTRY, such as ghcr.io/example/miniapp}
      digest=$(mktemp)
      trap 'rm -f "$digest"' EXIT
      push() {
        local there=$registry/''${1#miniapp/}
        skopeo --insecure-policy copy --quiet --digestfile "$digest" \
          docker-archive:/dev/stdin "docker://$there:$2"
        printf '  - name: %s\n    newName: %s\n    digest: %s\n' "$1" "$there" "$(<"$digest")"
      }
      echo images:
      ${each (image: "${image} | push ${image.imageName} ${image.imageTag}")}
    '';
  };
}
