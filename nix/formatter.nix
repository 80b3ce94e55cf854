# `nix fmt [FILE…]`: all Nix files of the checkout, if none are named. `--check` only looks.
{
  lib,
  writeShellScriptBin,
  git,
  nixfmt,
  # The one in Rust, where nixpkgs has it.
  nixfmt-rs ? nixfmt,
}:
writeShellScriptBin "zkops-fmt" ''
  options=() files=()
  for word; do
    case $word in
    -*) options+=("$word") ;;
    *) files+=("$word") ;;
    esac
  done
  [[ ''${#files[@]} -gt 0 ]] || mapfile -t files < <(${lib.getExe git} ls-files '*.nix')
  exec ${lib.getExe nixfmt-rs} "''${options[@]}" "''${files[@]}"
''
