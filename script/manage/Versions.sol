// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IManagedAppAuth} from "../../contracts/interfaces/IManagedAppAuth.sol";
import {Operation} from "../support/Operation.sol";
import {vm} from "../support/Vm.sol";

// An app: what may run. Run them as script/Manage.s.sol:NAME.

/// @dev Env: COMPOSE_HASH.
abstract contract AddComposeHash is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        bytes32 composeHash = vm.envBytes32("COMPOSE_HASH");
        _asOwner(
            address(app),
            abi.encodeCall(app.addComposeHash, (composeHash)),
            _text("Compose hash allowed:", composeHash)
        );
    }
}

/// @dev Env: COMPOSE_HASH.
abstract contract RemoveComposeHash is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        bytes32 composeHash = vm.envBytes32("COMPOSE_HASH");
        _asOwner(
            address(app),
            abi.encodeCall(app.removeComposeHash, (composeHash)),
            _text("Compose hash no longer allowed:", composeHash)
        );
    }
}

/// @dev Env: COMPOSE_HASH; NOT_BEFORE (0: as soon as possible), EXPIRES_AT (0: never), both Unix seconds; NOTE_URI.
abstract contract AddVersion is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        bytes32 composeHash = vm.envBytes32("COMPOSE_HASH");
        bytes memory call = abi.encodeCall(
            app.addVersion,
            (
                composeHash,
                _uint64("NOT_BEFORE", 0),
                _uint64("EXPIRES_AT", 0),
                vm.envOr("NOTE_URI", string(""))
            )
        );
        _asOwner(address(app), call, _text("Version added:", composeHash));
    }
}

/// @notice Adds a version that retires another in the moment it takes effect.
/// @dev Env: OLD_COMPOSE_HASH, NEW_COMPOSE_HASH; EXPIRES_AT (0: never), NOTE_URI.
abstract contract Supersede is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        bytes32 oldHash = vm.envBytes32("OLD_COMPOSE_HASH");
        bytes32 newHash = vm.envBytes32("NEW_COMPOSE_HASH");
        bytes memory call = abi.encodeCall(
            app.supersede, (oldHash, newHash, _uint64("EXPIRES_AT", 0), vm.envOr("NOTE_URI", string("")))
        );
        string memory meaning = string.concat(_text("Version", oldHash), " superseded by");
        _asOwner(address(app), call, _text(meaning, newHash));
    }
}

/// @notice Ends a version for good, pending or not.
/// @dev Env: COMPOSE_HASH.
abstract contract RetireVersion is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        bytes32 composeHash = vm.envBytes32("COMPOSE_HASH");
        _asOwner(
            address(app),
            abi.encodeCall(app.retire, (composeHash)),
            _text("Version retired for good:", composeHash)
        );
    }
}

/// @notice Moves a version's end to an earlier time.
/// @dev Env: COMPOSE_HASH, EXPIRES_AT (Unix seconds).
abstract contract SetVersionExpiry is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        bytes32 composeHash = vm.envBytes32("COMPOSE_HASH");
        vm.envUint("EXPIRES_AT");
        uint64 end = _uint64("EXPIRES_AT", 0);
        _asOwner(
            address(app),
            abi.encodeCall(app.setVersionExpiry, (composeHash, end)),
            _text(string.concat(_text("Version", composeHash), " ends at"), end)
        );
    }
}

/// @notice Retires every version with a smaller number.
/// @dev Env: MIN_VERSION.
abstract contract SetMinVersion is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        uint32 number = _uint32("MIN_VERSION");
        _asOwner(
            address(app),
            abi.encodeCall(app.setMinVersion, (number)),
            _text("Smallest version that may run:", uint256(number))
        );
    }
}

/// @notice No version can be added any more. Nothing undoes it.
abstract contract FreezeVersions is Operation {
    function run() external {
        IManagedAppAuth app = _app();
        _asOwner(
            address(app),
            abi.encodeCall(app.freezeVersions, ()),
            _text("Versions frozen for good:", address(app))
        );
    }
}
