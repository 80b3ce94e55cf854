# As much of nixpkgs' lib as nix/ uses, with the same names and meanings: for evaluation where there is no nixpkgs.
with builtins;
let
  lib = rec {
    inherit
      all
      any
      attrNames
      attrValues
      concatLists
      concatMap
      concatStringsSep
      elem
      filter
      foldl'
      head
      isAttrs
      isBool
      isFunction
      isList
      length
      lessThan
      mapAttrs
      sort
      tail
      ;

    # --- lists, sets, strings ----------------------------------------------------------------------------------------

    last = list: elemAt list (length list - 1);
    optional = condition: value: if condition then [ value ] else [ ];
    optionalAttrs = condition: set: if condition then set else { };
    unique = foldl' (found: each: if elem each found then found else found ++ [ each ]) [ ];
    mod = a: b: a - b * (a / b);

    nameValuePair = name: value: { inherit name value; };
    genAttrs = names: make: listToAttrs (map (name: nameValuePair name (make name)) names);
    mapAttrsToList = make: set: map (name: make name set.${name}) (attrNames set);
    filterAttrs =
      good: set:
      listToAttrs (
        concatMap (name: optional (good name set.${name}) (nameValuePair name set.${name})) (attrNames set)
      );

    concatStrings = concatStringsSep "";
    concatMapStrings = make: list: concatStrings (map make list);
    concatMapStringsSep =
      separator: make: list:
      concatStringsSep separator (map make list);
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    # `separator` is one plain character here.
    splitString =
      separator: text:
      filter isString (
        split (
          if
            elem separator [
              "."
              "|"
            ]
          then
            "[${separator}]"
          else
            separator
        ) text
      );
    toLower =
      let
        letters = text: genList (at: substring at 1 text) (stringLength text);
      in
      replaceStrings (letters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (letters "abcdefghijklmnopqrstuvwxyz");
    toInt = text: fromJSON (head (match "0*([0-9]+)" text));
    boolToString = value: if value then "true" else "false";

    # --- options -----------------------------------------------------------------------------------------------------

    mkOption = option: option // { _type = "option"; };
    mkEnableOption =
      what:
      mkOption {
        type = types.bool;
        default = false;
        description = "Whether to enable ${what}.";
      };
    literalExpression = text: { inherit text; };

    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkOverride = priority: content: {
      _type = "override";
      inherit priority content;
    };
    mkDefault = mkOverride 1000;
    mkForce = mkOverride 50;

    # --- types: what a value must be, and what several definitions make together ---------------------------------------

    types = rec {
      plain = name: check: {
        inherit name check;
        merge =
          path: values:
          if all (value: value == head values) values then
            head values
          else
            throw "The option `${path}' is defined differently in several places";
      };
      str = plain "string" isString;
      bool = plain "boolean" isBool;
      int = plain "signed integer" isInt;
      path = plain "path" (value: builtins.isPath value || isString value);
      package = plain "package" isAttrs;
      port = plain "16 bit unsigned integer" (value: isInt value && value >= 0 && value < 65536);
      ints.between =
        low: high:
        plain "integer between ${toString low} and ${toString high}" (
          value: isInt value && value >= low && value <= high
        );
      strMatching =
        pattern: plain "string matching ${pattern}" (value: isString value && match pattern value != null);
      enum = words: plain "one of ${toString words}" (value: elem value words);
      lines = plain "lines" isString // {
        merge = _: concatStringsSep "\n";
      };

      # Several types: which one it is, shows in the value.
      oneOf = choices: {
        name = "one of ${concatMapStringsSep ", " (choice: choice.name) choices}";
        check = value: any (choice: choice.check value) choices;
        merge = path: values: (head (filter (choice: all choice.check values) choices)).merge path values;
      };
      nullOr =
        type:
        oneOf [
          (plain "null" (value: value == null))
          type
        ];
      listOf = type: {
        name = "list of ${type.name}";
        check = isList;
        merge = path: values: map (value: settle path type [ value ]) (concatLists values);
      };
      attrsOf = type: {
        name = "attribute set of ${type.name}";
        check = isAttrs;
        merge =
          path: values:
          let
            names = unique (concatMap attrNames values);
            of = name: concatMap (value: if value ? ${name} then discharge value.${name} else [ ]) values;
          in
          listToAttrs (
            concatMap (
              name: optional (of name != [ ]) (nameValuePair name (settleAll "${path}.${name}" type (of name)))
            ) names
          );
      };
      # A set with just these options.
      record = options: {
        name = "set of ${toString (attrNames options)}";
        check = isAttrs;
        merge = path: values: evalOptions path options values;
      };
      # What TOML and JSON have.
      data = {
        name = "value of TOML";
        check =
          value:
          isAttrs value
          || isList value
          || isString value
          || isBool value
          || isInt value
          || builtins.isFloat value;
        merge =
          path: values:
          if isAttrs (head values) then
            (attrsOf data).merge path values
          else if isList (head values) then
            concatLists values
          else
            str.merge path values;
      };
    };

    # --- modules -----------------------------------------------------------------------------------------------------

    # A definition's values with their priorities, once its conditions are looked at.
    discharge =
      definition:
      let
        kind = if isAttrs definition then definition._type or "" else "";
      in
      if kind == "merge" then
        concatMap discharge definition.contents
      else if kind == "if" then
        (if definition.condition then discharge definition.content else [ ])
      else if kind == "override" then
        map (each: each // { inherit (definition) priority; }) (discharge definition.content)
      else
        [
          {
            priority = 100;
            value = definition;
          }
        ];

    settle =
      path: type: values:
      let
        wrong = filter (value: !type.check value) values;
      in
      if wrong != [ ] then
        throw "A definition for option `${path}' is not of type `${type.name}': ${builtins.toJSON (head wrong)}"
      else
        type.merge path values;

    # Of discharged definitions, those of the highest priority.
    settleAll =
      path: type: found:
      let
        highest = foldl' (best: each: if each.priority < best then each.priority else best) 9999 found;
      in
      settle path type (map (each: each.value) (filter (each: each.priority == highest) found));

    # A set of definitions with its conditions moved to its attributes: which there are can be told without looking at them.
    pushDown =
      definition:
      let
        kind = definition._type or "";
        push = wrap: map (mapAttrs (_: wrap)) (pushDown definition.content);
      in
      if kind == "merge" then
        concatMap pushDown definition.contents
      else if kind == "if" then
        push (mkIf definition.condition)
      else if kind == "override" then
        push (mkOverride definition.priority)
      else
        [ definition ];

    evalOptions =
      path: options: definitions:
      let
        pushed = concatMap pushDown definitions;
        unknown = filter (name: !(options ? ${name})) (concatMap attrNames pushed);
        evaluate =
          name: option:
          let
            here = if path == "" then name else "${path}.${name}";
            mine = concatMap (definition: optional (definition ? ${name}) definition.${name}) pushed;
            found = concatMap discharge mine;
          in
          if option._type or "" != "option" then
            evalOptions here option mine
          else if found == [ ] then
            (if option ? default then option.default else throw "The option `${here}' is used, but not defined")
          else
            settleAll here option.type found;
      in
      if unknown != [ ] then
        throw "The option `${path}.${head unknown}' does not exist"
      else
        mapAttrs evaluate options;

    mergeOptions =
      a: b:
      a
      // mapAttrs (
        name: option: if a ? ${name} && !(option ? _type) then mergeOptions a.${name} option else option
      ) b;

    # The configuration that modules make together.
    evalModules =
      { modules, specialArgs }:
      let
        load =
          module:
          let
            loaded = if builtins.isPath module then import module else module;
            called = if isFunction loaded then loaded (specialArgs // { inherit config lib; }) else loaded;
            isWhole = called ? options || called ? config || called ? imports;
          in
          [
            (
              if isWhole then
                {
                  config =
                    removeAttrs called [
                      "imports"
                      "options"
                      "config"
                    ]
                    // called.config or { };
                  options = called.options or { };
                }
              else
                {
                  config = called;
                  options = { };
                }
            )
          ]
          ++ concatMap load (called.imports or [ ]);
        loaded = concatMap load modules;
        options = foldl' mergeOptions { } (map (each: each.options) loaded);
        config = evalOptions "" options (map (each: each.config) loaded);
      in
      config;
  };
in
lib
