// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

/// @title The one question a KMS asks about an app
/// @notice Any contract that answers it can be registered with {IKmsAuth-registerApp}; {AppAuth} is the
/// implementation that most apps use. The ERC-165 id of this interface is 0x1e079198.
interface IAppAuth {
    /// @notice The identity of a confidential VM, as the KMS established it from verified evidence.
    /// @param appId Address of the app's contract.
    /// @param composeHash SHA-256 of the exact bytes of app-compose.json.
    /// @param instanceId Identifies one VM of the app.
    /// @param deviceId Identifies the machine it runs on.
    /// @param mrAggregated Digest of all measurement registers.
    /// @param mrSystem Digest of the registers that do not depend on the app.
    /// @param osImageHash Digest of the guest OS image.
    /// @param tcbStatus What the vendor's collateral says of the platform, for example `UpToDate`.
    /// @param advisoryIds Security advisories that apply to the platform.
    struct AppBootInfo {
        address appId;
        bytes32 composeHash;
        address instanceId;
        bytes32 deviceId;
        bytes32 mrAggregated;
        bytes32 mrSystem;
        bytes32 osImageHash;
        string tcbStatus;
        string[] advisoryIds;
    }

    /// @notice Whether a VM with this identity may have the app's keys.
    /// @return isAllowed The verdict.
    /// @return reason The first rule that failed; empty when allowed.
    function isAppAllowed(AppBootInfo calldata bootInfo)
        external
        view
        returns (bool isAllowed, string memory reason);
}
