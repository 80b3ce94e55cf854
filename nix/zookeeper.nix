# A member of a ZooKeeper ensemble from one file: what the Debian package `zkops-zookeeper` has, on nixpkgs' ZooKeeper.
{
  lib,
  stdenvNoCC,
  makeWrapper,
  bash,
  coreutils,
  gnugrep,
  gnused,
  hostname-debian,
  systemd,
  writeTextDir,
  zookeeper,
  jre ? zookeeper.jre,
}:
let
  inherit (lib.importTOML ../Cargo.toml) package;
  # nixpkgs' ZooKeeper logs by Logback, Debian's by slf4j-simple; both take the level from ZOOKEEPER_LOG.
  logging = writeTextDir "logback.xml" (builtins.readFile ./logback.xml);
  # The launcher's, and of its unit's sandbox: nothing else of the system is looked for.
  path = lib.makeBinPath [
    bash
    coreutils
    gnugrep
    gnused
    hostname-debian
    systemd
  ];
in
stdenvNoCC.mkDerivation {
  pname = "zkops-zookeeper";
  inherit (package) version;

  dontUnpack = true;

  nativeBuildInputs = [ makeWrapper ];
  buildInputs = [ bash ];

  installPhase = ''
    runHook preInstall
    install -Dm755 ${../packaging/lib/zookeeper} $out/lib/zkops/zookeeper
    patchShebangs --host $out/lib/zkops/zookeeper
    wrapProgram $out/lib/zkops/zookeeper \
      --set PATH ${path} \
      --set JAVA_HOME ${jre} \
      --set ZOOKEEPER_CLASSPATH '${logging}:${zookeeper}/lib/*'
    install -Dm644 ${../packaging/man/zkops-zookeeper.8} $out/share/man/man8/zkops-zookeeper.8
    runHook postInstall
  '';

  meta = {
    description = "Member of a ZooKeeper ensemble, configured by one file that is the same on all members";
    homepage = package.repository;
    license = lib.licenses.asl20;
    platforms = lib.platforms.linux;
  };
}
