// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {AppPolicy, TcbStatuses, TeeVariants} from "../../contracts/governance/AppPolicies.sol";
import {IAppManagement} from "../../contracts/interfaces/IAppManagement.sol";
import {Operation} from "./Operation.sol";
import {PolicyText} from "./PolicyText.sol";
import {vm} from "./Vm.sol";

/// @dev How a new app begins, from the environment.
abstract contract AppFromEnv is Operation, PolicyText {
    /// @dev Env: APP_OWNER (the deployer), GUARDIAN (nobody), DELAY (0), DISABLE_UPGRADES (false),
    /// INITIAL_COMPOSE_HASH (none), NOTE_URI, DEVICE_LIST (none); the policy as {PolicyText-_policyFromEnv} reads
    /// it, where nothing is demanded by default, and REQUIRE_TCB_UP_TO_DATE (false) instead of TCB_STATUSES.
    function _appFromEnv(address deployer) internal view returns (IAppManagement.AppConfig memory config) {
        config.owner = vm.envOr("APP_OWNER", deployer);
        config.guardian = vm.envOr("GUARDIAN", address(0));
        config.delay = _uint32("DELAY", 0);
        config.upgradesDisabled = vm.envOr("DISABLE_UPGRADES", false);
        bool upToDate = vm.envOr("REQUIRE_TCB_UP_TO_DATE", false);
        config.policy = _policyFromEnv(
            AppPolicy({
                allowAnyDevice: true,
                teeVariants: TeeVariants.ALL,
                tcbStatuses: upToDate ? TcbStatuses.UP_TO_DATE : TcbStatuses.ALL,
                tcbGracePeriod: 0,
                anyAdvisory: true,
                maxStateAge: 0,
                requireGpu: false
            })
        );
        config.devices = _hashes("DEVICE_LIST");
        config.composeHash = vm.envOr("INITIAL_COMPOSE_HASH", bytes32(0));
        config.noteUri = vm.envOr("NOTE_URI", string(""));
    }
}
