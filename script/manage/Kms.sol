// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IKmsAuth} from "../../contracts/interfaces/IKmsAuth.sol";
import {IKmsTypes} from "../../contracts/interfaces/IKmsTypes.sol";
import {Operation} from "../support/Operation.sol";
import {vm} from "../support/Vm.sol";

// The KMS contract: what may be a KMS, and what it publishes. Run them as script/Manage.s.sol:NAME.

/// @dev Env: MR_AGGREGATED.
abstract contract AddKmsAggregatedMr is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        bytes32 mrAggregated = vm.envBytes32("MR_AGGREGATED");
        _asOwner(
            address(kms),
            abi.encodeCall(kms.addKmsAggregatedMr, (mrAggregated)),
            _text("KMS aggregated MR allowed:", mrAggregated)
        );
    }
}

/// @dev Env: MR_AGGREGATED.
abstract contract RemoveKmsAggregatedMr is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        bytes32 mrAggregated = vm.envBytes32("MR_AGGREGATED");
        _asOwner(
            address(kms),
            abi.encodeCall(kms.removeKmsAggregatedMr, (mrAggregated)),
            _text("KMS aggregated MR no longer allowed:", mrAggregated)
        );
    }
}

/// @dev Env: OS_IMAGE_HASH.
abstract contract AddOsImage is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        bytes32 osImageHash = vm.envBytes32("OS_IMAGE_HASH");
        _asOwner(
            address(kms),
            abi.encodeCall(kms.addOsImageHash, (osImageHash)),
            _text("OS image allowed:", osImageHash)
        );
    }
}

/// @dev Env: OS_IMAGE_HASH.
abstract contract RemoveOsImage is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        bytes32 osImageHash = vm.envBytes32("OS_IMAGE_HASH");
        _asOwner(
            address(kms),
            abi.encodeCall(kms.removeOsImageHash, (osImageHash)),
            _text("OS image no longer allowed:", osImageHash)
        );
    }
}

/// @dev Env: DEVICE_ID.
abstract contract AddKmsDevice is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        bytes32 deviceId = vm.envBytes32("DEVICE_ID");
        _asOwner(
            address(kms), abi.encodeCall(kms.addKmsDevice, (deviceId)), _text("KMS device allowed:", deviceId)
        );
    }
}

/// @dev Env: DEVICE_ID.
abstract contract RemoveKmsDevice is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        bytes32 deviceId = vm.envBytes32("DEVICE_ID");
        _asOwner(
            address(kms),
            abi.encodeCall(kms.removeKmsDevice, (deviceId)),
            _text("KMS device no longer allowed:", deviceId)
        );
    }
}

/// @dev Env: GATEWAY_APP_ID.
abstract contract SetGatewayAppId is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        string memory gatewayAppId = vm.envString("GATEWAY_APP_ID");
        _asOwner(
            address(kms),
            abi.encodeCall(kms.setGatewayAppId, (gatewayAppId)),
            string.concat("Gateway app id set: ", gatewayAppId)
        );
    }
}

/// @dev Env: K256_PUBKEY, CA_PUBKEY, QUOTE; EVENTLOG (empty). All hex.
abstract contract SetKmsInfo is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        IKmsTypes.KmsInfo memory info = IKmsTypes.KmsInfo({
            k256Pubkey: vm.envBytes("K256_PUBKEY"),
            caPubkey: vm.envBytes("CA_PUBKEY"),
            quote: vm.envBytes("QUOTE"),
            eventlog: vm.envOr("EVENTLOG", bytes(""))
        });
        _asOwner(
            address(kms),
            abi.encodeCall(kms.setKmsInfo, (info)),
            string.concat("KMS info set, k256 public key: ", vm.toString(info.k256Pubkey))
        );
    }
}

/// @dev Env: QUOTE, hex.
abstract contract SetKmsQuote is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        bytes memory quote = vm.envBytes("QUOTE");
        _asOwner(
            address(kms),
            abi.encodeCall(kms.setKmsQuote, (quote)),
            _text("KMS quote set, bytes:", quote.length)
        );
    }
}

/// @dev Env: EVENTLOG, hex.
abstract contract SetKmsEventlog is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        bytes memory eventlog = vm.envBytes("EVENTLOG");
        _asOwner(
            address(kms),
            abi.encodeCall(kms.setKmsEventlog, (eventlog)),
            _text("KMS event log set, bytes:", eventlog.length)
        );
    }
}

/// @notice Puts a KMS node on the roster, or changes its entry.
/// @dev Env: NODE_ENDPOINT (URL), NODE_PUBLIC_KEY (hex, DER SubjectPublicKeyInfo); NODE_EVIDENCE_HASH (0).
abstract contract SetKmsNode is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        IKmsTypes.KmsNode memory node = IKmsTypes.KmsNode({
            publicKey: vm.envBytes("NODE_PUBLIC_KEY"),
            evidenceHash: vm.envOr("NODE_EVIDENCE_HASH", bytes32(0)),
            endpoint: vm.envString("NODE_ENDPOINT")
        });
        bytes32 nodeId = keccak256(bytes(node.endpoint));
        _asOwner(
            address(kms),
            abi.encodeCall(kms.setKmsNode, (node)),
            _text(string.concat("KMS node on the roster: ", node.endpoint, ", id"), nodeId)
        );
    }
}

/// @dev Env: NODE_ENDPOINT, or NODE_ID.
abstract contract RemoveKmsNode is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        bytes32 nodeId =
            _isSet("NODE_ID") ? vm.envBytes32("NODE_ID") : keccak256(bytes(vm.envString("NODE_ENDPOINT")));
        _asOwner(
            address(kms),
            abi.encodeCall(kms.removeKmsNode, (nodeId)),
            _text("KMS node no longer on the roster, id", nodeId)
        );
    }
}

/// @dev Env: APP_IMPLEMENTATION.
abstract contract SetAppImplementation is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        address implementation = _contractFromEnv("APP_IMPLEMENTATION");
        _asOwner(
            address(kms),
            abi.encodeCall(kms.setAppImplementation, (implementation)),
            _text("App implementation set:", implementation)
        );
    }
}

/// @notice Gives up upgrades of the KMS's contract. Nothing undoes it.
abstract contract DisableKmsUpgrades is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        _asOwner(
            address(kms),
            abi.encodeCall(kms.disableUpgrades, ()),
            _text("Upgrades disabled for good:", address(kms))
        );
    }
}

/// @notice The settings of a new KMS in one run.
/// @dev Env, each optional: GATEWAY_APP_ID; MR_AGGREGATED_LIST, OS_IMAGE_LIST, DEVICE_LIST (hashes with commas
/// between them).
abstract contract BatchKmsSetup is Operation {
    function run() external {
        IKmsAuth kms = _kms();
        string memory gatewayAppId = vm.envOr("GATEWAY_APP_ID", string(""));
        bytes32[] memory measurements = _hashes("MR_AGGREGATED_LIST");
        bytes32[] memory images = _hashes("OS_IMAGE_LIST");
        bytes32[] memory devices = _hashes("DEVICE_LIST");
        require(
            bytes(gatewayAppId).length + measurements.length + images.length + devices.length != 0,
            "nothing to set: give GATEWAY_APP_ID, MR_AGGREGATED_LIST, OS_IMAGE_LIST or DEVICE_LIST"
        );

        if (bytes(gatewayAppId).length != 0) {
            _asOwner(
                address(kms),
                abi.encodeCall(kms.setGatewayAppId, (gatewayAppId)),
                string.concat("Gateway app id set: ", gatewayAppId)
            );
        }
        for (uint256 i = 0; i < measurements.length; i++) {
            bytes memory call = abi.encodeCall(kms.addKmsAggregatedMr, (measurements[i]));
            _asOwner(address(kms), call, _text("KMS aggregated MR allowed:", measurements[i]));
        }
        for (uint256 i = 0; i < images.length; i++) {
            bytes memory call = abi.encodeCall(kms.addOsImageHash, (images[i]));
            _asOwner(address(kms), call, _text("OS image allowed:", images[i]));
        }
        for (uint256 i = 0; i < devices.length; i++) {
            bytes memory call = abi.encodeCall(kms.addKmsDevice, (devices[i]));
            _asOwner(address(kms), call, _text("KMS device allowed:", devices[i]));
        }
    }
}
