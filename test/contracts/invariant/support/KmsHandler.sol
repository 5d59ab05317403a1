// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppPolicy, TcbStatuses, TeeVariants} from "../../../../contracts/governance/AppPolicies.sol";
import {IAppAuth} from "../../../../contracts/interfaces/IAppAuth.sol";
import {IAppManagement} from "../../../../contracts/interfaces/IAppManagement.sol";
import {Facts, RuleVerdict} from "../../../../contracts/interfaces/IAppPolicy.sol";
import {IGoverned} from "../../../../contracts/interfaces/IGoverned.sol";
import {IKmsAuth} from "../../../../contracts/interfaces/IKmsAuth.sol";
import {IKmsTypes} from "../../../../contracts/interfaces/IKmsTypes.sol";
import {vm} from "../../support/TestVm.sol";
import {GovernedHandler} from "./GovernedHandler.sol";

/// @dev An app contract of somebody's own making, which allows everything.
contract OpenApp is IAppAuth {
    function isAppAllowed(AppBootInfo calldata) external pure returns (bool, string memory) {
        return (true, "");
    }
}

/// @dev A KMS contract and three apps: one of its factory's, one that knows no facts, and one whose address is
/// known before it is created.
contract KmsHandler is GovernedHandler {
    uint256 private constant APPS = 3;
    uint256 private constant IMAGES = 2;
    uint64 private constant FAR = 4_000_000_000;
    address private constant APP_OWNER = address(0xA99);

    IKmsAuth private immutable kms;
    address[APPS] private apps;
    address[2] private appImplementations;

    mapping(address app => bool) private isDeregistered;
    // From when the owner's registration holds; 0 for none.
    mapping(address app => uint64) private registeredFrom;

    // By its own reckoning: what identifies the KMS now, what waits to replace it, and whether it is the first.
    Slot private gateway;
    Slot private factory;
    Slot private keys;

    struct Slot {
        bytes value;
        bool named;
        bool waits;
        bytes next;
        uint64 at;
    }

    constructor(
        address target_,
        address other,
        uint32 delay_,
        address appImplementation,
        address otherAppImplementation
    ) GovernedHandler(target_, other, delay_) {
        kms = IKmsAuth(target_);
        appImplementations = [appImplementation, otherAppImplementation];
        factory.value = abi.encode(appImplementation);
        factory.named = true;
        gateway.value = abi.encode("");
        apps[0] = kms.createApp(_config(), "first");
        apps[1] = address(new OpenApp());
        apps[2] = kms.predictApp(STRANGER, "later");
    }

    // ------------------------------------------------------------ lists

    function addOsImageHash(uint256 who, uint256 choice) external {
        _call(_actor(who), abi.encodeCall(kms.addOsImageHash, (_image(choice))));
    }

    function removeOsImageHash(uint256 who, uint256 choice) external {
        if (!_call(_actor(who), abi.encodeCall(kms.removeOsImageHash, (_image(choice))))) return;
        if (kms.allowedOsImages(_image(choice))) _break(Rule.NarrowsAtOnce, "removeOsImageHash");
        for (uint256 i = 0; i < _probes(); i++) {
            if (i % IMAGES == choice % IMAGES) _refused(i, "removeOsImageHash");
        }
    }

    function addKmsAggregatedMr(uint256 who, uint256 choice) external {
        _call(_actor(who), abi.encodeCall(kms.addKmsAggregatedMr, (_mr(choice))));
    }

    function removeKmsAggregatedMr(uint256 who, uint256 choice) external {
        if (!_call(_actor(who), abi.encodeCall(kms.removeKmsAggregatedMr, (_mr(choice))))) return;
        if (kms.kmsAllowedAggregatedMrs(_mr(choice))) _break(Rule.NarrowsAtOnce, "removeKmsAggregatedMr");
        _refused((APPS + choice % 2) * IMAGES, "removeKmsAggregatedMr");
        _refused((APPS + choice % 2) * IMAGES + 1, "removeKmsAggregatedMr");
    }

    function addKmsDevice(uint256 who, uint256 choice) external {
        _call(_actor(who), abi.encodeCall(kms.addKmsDevice, (_device(choice))));
    }

    function removeKmsDevice(uint256 who, uint256 choice) external {
        if (!_call(_actor(who), abi.encodeCall(kms.removeKmsDevice, (_device(choice))))) return;
        if (kms.kmsAllowedDeviceIds(_device(choice))) _break(Rule.NarrowsAtOnce, "removeKmsDevice");
        _refused((APPS + choice % 2) * IMAGES, "removeKmsDevice");
        _refused((APPS + choice % 2) * IMAGES + 1, "removeKmsDevice");
    }

    // ------------------------------------------------------------ apps

    function registerApp(uint256 who, uint256 choice) external {
        address app = apps[choice % APPS];
        address actor = _actor(who);
        _look();
        bool wasDeregistered = isDeregistered[app];
        if (!_register(actor, abi.encodeCall(kms.registerApp, (app)), app)) return;
        if (!wasDeregistered) return;
        if (actor != owner) {
            _break(Rule.Final, "registerApp");
        } else if (registeredFrom[app] == 0) {
            registeredFrom[app] = _now() + delay;
        } else if (_now() + delay < registeredFrom[app]) {
            registeredFrom[app] = _now() + delay;
        }
        _look();
    }

    function deregisterApp(uint256 who, uint256 choice) external {
        address app = apps[choice % APPS];
        address actor = who % 6 == 0 ? APP_OWNER : _actor(who / 6);
        if (!_call(actor, abi.encodeCall(kms.deregisterApp, (app)))) return;
        isDeregistered[app] = true;
        registeredFrom[app] = 0;
        _look();
        for (uint256 i = 0; i < IMAGES; i++) {
            _refused(choice % APPS * IMAGES + i, "deregisterApp");
        }
    }

    function pauseApp(uint256 who, uint256 choice) external {
        address actor = _actor(who);
        bool may = _isOneOf(actor);
        bool done = _call(actor, abi.encodeCall(kms.pauseApp, (apps[choice % APPS])));
        if (done != may) _break(Rule.NarrowsAtOnce, "pauseApp");
        if (!done) return;
        for (uint256 i = 0; i < IMAGES; i++) {
            _refused(choice % APPS * IMAGES + i, "pauseApp");
        }
    }

    function unpauseApp(uint256 who, uint256 choice) external {
        _call(_actor(who), abi.encodeCall(kms.unpauseApp, (apps[choice % APPS])));
    }

    /// @dev Anyone may; to keep a probe that nobody created, not often.
    function createApp(uint256 who) external {
        if (who % 3 != 0) return;
        _register(STRANGER, abi.encodeCall(kms.createApp, (_config(), "later")), apps[2]);
    }

    function deployAndRegisterApp() external {
        bytes memory data = abi.encodeWithSignature(
            "deployAndRegisterApp(address,bool,bool,bytes32,bytes32)",
            APP_OWNER,
            false,
            true,
            bytes32(0),
            bytes32(uint256(0x11))
        );
        _call(STRANGER, data);
    }

    // ------------------------------------------------------------ identity

    function setAppImplementation(uint256 who, uint256 choice) external {
        address value = appImplementations[choice % 2];
        if (!_call(_actor(who), abi.encodeCall(kms.setAppImplementation, (value)))) return;
        _replace(factory, abi.encode(value), false);
    }

    function setGatewayAppId(uint256 who, uint256 choice) external {
        string[3] memory values = ["", "one gateway", "another gateway"];
        string memory value = values[choice % 3];
        if (!_call(_actor(who), abi.encodeCall(kms.setGatewayAppId, (value)))) return;
        _replace(gateway, abi.encode(value), choice % 3 == 0);
        if (choice % 3 == 0 && bytes(kms.gatewayAppId()).length != 0) {
            _break(Rule.NarrowsAtOnce, "setGatewayAppId");
        }
    }

    function setKmsInfo(uint256 who, uint256 choice) external {
        IKmsTypes.KmsInfo memory info;
        info.k256Pubkey = choice % 2 == 0 ? bytes("one key") : bytes("another key");
        info.caPubkey = "CA key";
        info.quote = choice % 3 == 0 ? bytes("one quote") : bytes("another quote");
        if (!_call(_actor(who), abi.encodeCall(kms.setKmsInfo, (info)))) return;
        _replace(keys, info.k256Pubkey, false);
    }

    function setKmsEvidence(uint256 who, uint256 choice) external {
        bytes memory data = abi.encode(choice % 5);
        if (choice % 2 == 0) _call(_actor(who), abi.encodeCall(kms.setKmsQuote, (data)));
        else _call(_actor(who), abi.encodeCall(kms.setKmsEventlog, (data)));
    }

    function setKmsNode(uint256 who, uint256 choice) external {
        string memory endpoint = choice % 2 == 0 ? "https://one" : "https://another";
        IKmsTypes.KmsNode memory node = IKmsTypes.KmsNode("key", bytes32(choice), endpoint);
        _call(_actor(who), abi.encodeCall(kms.setKmsNode, (node)));
    }

    function removeKmsNode(uint256 who, uint256 choice) external {
        bytes32 id = keccak256(choice % 2 == 0 ? bytes("https://one") : bytes("https://another"));
        if (!_call(_actor(who), abi.encodeCall(kms.removeKmsNode, (id)))) return;
        (bytes32[] memory ids,) = kms.kmsNodes();
        for (uint256 i = 0; i < ids.length; i++) {
            if (ids[i] == id) _break(Rule.NarrowsAtOnce, "removeKmsNode");
        }
    }

    // ------------------------------------------------------------ probes

    /// @inheritdoc GovernedHandler
    /// @dev Every app on every image, then two KMS builds on them.
    function _probes() internal pure override returns (uint256) {
        return (APPS + 2) * IMAGES;
    }

    /// @inheritdoc GovernedHandler
    function _isAllowed(uint256 probe, uint64 time) internal view override returns (bool isAllowed) {
        IAppAuth.AppBootInfo memory info = _question(probe);
        if (probe / IMAGES < APPS) {
            (isAllowed,) = kms.decide(info, _facts(time), time);
        } else {
            RuleVerdict[] memory verdicts = kms.explainKms(info, time);
            isAllowed = true;
            for (uint256 i = 0; i < verdicts.length; i++) {
                if (!verdicts[i].passed) isAllowed = false;
            }
        }
    }

    /// @inheritdoc GovernedHandler
    function _answers(uint64 time) internal view override returns (bytes32 digest) {
        for (uint256 i = 0; i < _probes(); i++) {
            IAppAuth.AppBootInfo memory info = _question(i);
            if (i / IMAGES < APPS) {
                (bool isAllowed, string memory reason) = kms.decide(info, _facts(time), time);
                RuleVerdict[] memory verdicts = kms.explain(info, _facts(time), time);
                digest = keccak256(abi.encode(digest, isAllowed, reason, verdicts));
            } else {
                digest = keccak256(abi.encode(digest, kms.explainKms(info, time)));
            }
        }
    }

    /// @inheritdoc GovernedHandler
    function _present() internal view override returns (bytes32 digest) {
        (bytes memory k256Pubkey, bytes memory caPubkey, bytes memory quote, bytes memory eventlog) =
            kms.kmsInfo();
        (bytes32[] memory ids, IKmsTypes.KmsNode[] memory nodes) = kms.kmsNodes();
        digest = keccak256(abi.encode(k256Pubkey, caPubkey, quote, eventlog, ids, nodes));
        digest = keccak256(
            abi.encode(
                digest,
                kms.delay(),
                kms.guardian(),
                kms.owner(),
                kms.pendingOwner(),
                kms.gatewayAppId(),
                kms.appImplementation(),
                kms.upgradesDisabled(),
                kms.pendingChanges().length
            )
        );
        for (uint256 i = 0; i < APPS; i++) {
            address app = apps[i];
            digest = keccak256(
                abi.encode(digest, kms.registeredApps(app), kms.deregisteredApps(app), kms.pausedApps(app))
            );
        }
        for (uint256 i = 0; i < _probes(); i++) {
            IAppAuth.AppBootInfo memory info = _question(i);
            (bool isAllowed, string memory reason) =
                i / IMAGES < APPS ? kms.isAppAllowed(info) : kms.isKmsAllowed(info);
            digest = keccak256(
                abi.encode(
                    digest,
                    isAllowed,
                    reason,
                    kms.allowedOsImages(_image(i)),
                    kms.kmsAllowedAggregatedMrs(_mr(i)),
                    kms.kmsAllowedDeviceIds(_device(i))
                )
            );
        }
    }

    /// @dev Nothing that waits here narrows.
    function _isAboutToEnd(uint256, IGoverned.PendingChange[] memory) internal pure override returns (bool) {
        return false;
    }

    /// @inheritdoc GovernedHandler
    function _look() internal override {
        for (uint256 i = 0; i < APPS; i++) {
            address app = apps[i];
            if (!isDeregistered[app]) continue;
            uint64 from = registeredFrom[app];
            if (from != 0 && from <= _now()) {
                isDeregistered[app] = false;
                registeredFrom[app] = 0;
            } else if (kms.registeredApps(app) || !kms.deregisteredApps(app)) {
                _break(Rule.Final, "deregistered");
            }
        }
        if (upgradesDisabled && !kms.upgradesDisabled()) _break(Rule.Final, "upgradesDisabled");
        _identity();
    }

    /// @inheritdoc GovernedHandler
    function _vetoed(bytes32 id) internal override {
        if (id == keccak256(abi.encode(keccak256("gateway-app-id"), 0))) gateway.waits = false;
        if (id == keccak256(abi.encode(keccak256("app-implementation"), 0))) factory.waits = false;
        if (id == keccak256(abi.encode(keccak256("kms-info"), 0))) keys.waits = false;
        for (uint256 i = 0; i < APPS; i++) {
            if (id == keccak256(abi.encode(keccak256("registered-app"), apps[i]))) {
                registeredFrom[apps[i]] = 0;
            }
        }
    }

    /// @inheritdoc GovernedHandler
    function _renounced() internal override {
        gateway.waits = false;
        factory.waits = false;
        keys.waits = false;
        for (uint256 i = 0; i < APPS; i++) {
            registeredFrom[apps[i]] = 0;
        }
    }

    // ------------------------------------------------------------ private

    /// @dev Registering an app for the first time is anyone's right, and gives access to nobody else's.
    function _register(address actor, bytes memory data, address app) private returns (bool success) {
        _look();
        if (isDeregistered[app]) return _call(actor, data);
        // Not compared with before.
        vm.prank(actor);
        (success,) = target.call(data);
        calls++;
        if (success) {
            successes++;
            succeeded[bytes4(data)]++;
            _see();
        }
    }

    /// @dev The first value at once, and so is none; another one waits.
    function _replace(Slot storage slot, bytes memory value, bool isNone) private {
        _mature(slot);
        bool isFirst = !slot.named && !isNone;
        if (isFirst || isNone || keccak256(slot.value) == keccak256(value) || delay == 0) {
            slot.value = value;
            slot.waits = false;
            if (!isNone) slot.named = true;
        } else if (!slot.waits || keccak256(slot.next) != keccak256(value) || slot.at > _now() + delay) {
            (slot.waits, slot.next, slot.at) = (true, value, _now() + delay);
        }
        _identity();
    }

    function _mature(Slot storage slot) private {
        if (!slot.waits || slot.at > _now()) return;
        (slot.waits, slot.value) = (false, slot.next);
    }

    function _identity() private {
        _mature(gateway);
        _mature(factory);
        _mature(keys);
        if (keccak256(gateway.value) != keccak256(abi.encode(kms.gatewayAppId()))) {
            _break(Rule.Strict, "gateway");
        }
        if (keccak256(factory.value) != keccak256(abi.encode(kms.appImplementation()))) {
            _break(Rule.Strict, "factory");
        }
        (bytes memory k256Pubkey,,,) = kms.kmsInfo();
        if (keccak256(keys.value) != keccak256(k256Pubkey)) _break(Rule.Strict, "keys");
    }

    function _refused(uint256 probe, bytes memory by) private {
        if (_isAllowed(probe, 0) || _isAllowed(probe, FAR)) _break(Rule.NarrowsAtOnce, by);
    }

    function _question(uint256 probe) private view returns (IAppAuth.AppBootInfo memory info) {
        uint256 subject = probe / IMAGES;
        info.osImageHash = _image(probe);
        info.tcbStatus = "UpToDate";
        info.composeHash = bytes32(uint256(0x11));
        if (subject < APPS) {
            info.appId = apps[subject];
        } else {
            info.mrAggregated = _mr(subject - APPS);
            info.deviceId = _device(subject - APPS);
        }
    }

    function _facts(uint64 time) private view returns (Facts memory) {
        return Facts(time == 0 ? _now() : time, TeeVariants.TDX, 0, true);
    }

    /// @dev An app that allows one version on every device.
    function _config() private pure returns (IAppManagement.AppConfig memory config) {
        config.owner = APP_OWNER;
        config.policy = AppPolicy(true, TeeVariants.ALL, TcbStatuses.ALL, 0, true, 0, false);
        config.composeHash = bytes32(uint256(0x11));
    }

    function _image(uint256 choice) private pure returns (bytes32) {
        return bytes32(choice % IMAGES + 0x31);
    }

    function _mr(uint256 choice) private pure returns (bytes32) {
        return bytes32(choice % 2 + 0x41);
    }

    function _device(uint256 choice) private pure returns (bytes32) {
        return bytes32(choice % 2 + 0x51);
    }
}
