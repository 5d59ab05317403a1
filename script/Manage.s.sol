// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import "./manage/Governance.sol" as Governance;
import "./manage/Kms.sol" as Kms;
import "./manage/KmsApps.sol" as KmsApps;
import "./manage/Policy.sol" as Policy;
import "./manage/Versions.sol" as Versions;

// Usage: KMS_CONTRACT_ADDR=0x… OS_IMAGE_HASH=0x… [PRIVATE_KEY=0x…] \
//          forge script script/Manage.s.sol:AddOsImage --rpc-url … --broadcast
// Scripts of the KMS read KMS_CONTRACT_ADDR, scripts of an app APP_CONTRACT_ADDR, scripts of both CONTRACT_ADDR
// or the only one of the two that is set; what else each one reads is said in script/manage. Without --broadcast the
// call is simulated only. Running one twice changes nothing more.
//
// A contract's owner may be a contract itself: a Safe, a timelock. Then nothing is sent; the script prints target,
// value and calldata for its owners to execute. Env for a timelock: TIMELOCK_SALT (0).

// ---------------------------------------------------------------- KMS

contract AddKmsAggregatedMr is Kms.AddKmsAggregatedMr {}

contract RemoveKmsAggregatedMr is Kms.RemoveKmsAggregatedMr {}

contract AddOsImage is Kms.AddOsImage {}

contract RemoveOsImage is Kms.RemoveOsImage {}

contract AddKmsDevice is Kms.AddKmsDevice {}

contract RemoveKmsDevice is Kms.RemoveKmsDevice {}

contract SetGatewayAppId is Kms.SetGatewayAppId {}

contract SetKmsInfo is Kms.SetKmsInfo {}

contract SetKmsQuote is Kms.SetKmsQuote {}

contract SetKmsEventlog is Kms.SetKmsEventlog {}

contract SetKmsNode is Kms.SetKmsNode {}

contract RemoveKmsNode is Kms.RemoveKmsNode {}

contract SetAppImplementation is Kms.SetAppImplementation {}

contract DisableKmsUpgrades is Kms.DisableKmsUpgrades {}

contract BatchKmsSetup is Kms.BatchKmsSetup {}

// ---------------------------------------------------------------- KMS: its apps

contract RegisterApp is KmsApps.RegisterApp {}

contract DeregisterApp is KmsApps.DeregisterApp {}

contract PauseAppAtKms is KmsApps.PauseAppAtKms {}

contract UnpauseAppAtKms is KmsApps.UnpauseAppAtKms {}

contract DeployApp is KmsApps.DeployApp {}

contract CreateApp is KmsApps.CreateApp {}

contract PredictApp is KmsApps.PredictApp {}

// ---------------------------------------------------------------- Both contracts: governance

contract SetDelay is Governance.SetDelay {}

contract SetGuardian is Governance.SetGuardian {}

contract Veto is Governance.Veto {}

contract Settle is Governance.Settle {}

contract TransferOwnership is Governance.TransferOwnership {}

contract AcceptOwnership is Governance.AcceptOwnership {}

// ---------------------------------------------------------------- App: versions

contract AddComposeHash is Versions.AddComposeHash {}

contract RemoveComposeHash is Versions.RemoveComposeHash {}

contract AddVersion is Versions.AddVersion {}

contract Supersede is Versions.Supersede {}

contract RetireVersion is Versions.RetireVersion {}

contract SetVersionExpiry is Versions.SetVersionExpiry {}

contract SetMinVersion is Versions.SetMinVersion {}

contract FreezeVersions is Versions.FreezeVersions {}

// ---------------------------------------------------------------- App: policy

contract AddDevice is Policy.AddDevice {}

contract RemoveDevice is Policy.RemoveDevice {}

contract SetAllowAnyDevice is Policy.SetAllowAnyDevice {}

contract SetRequireTcbUpToDate is Policy.SetRequireTcbUpToDate {}

contract SetAdvisoryTolerated is Policy.SetAdvisoryTolerated {}

contract SetPolicy is Policy.SetPolicy {}

contract PauseApp is Policy.PauseApp {}

contract UnpauseApp is Policy.UnpauseApp {}

contract DisableAppUpgrades is Policy.DisableAppUpgrades {}

contract ShowAppInfo is Policy.ShowAppInfo {}
