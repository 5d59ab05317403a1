// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.24;

import {IERC5805} from "@openzeppelin/contracts/interfaces/IERC5805.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";

import {IAppAuth} from "../interfaces/IAppAuth.sol";

/// @title An app whose versions the holders of a token vote in and out
/// @notice Nobody owns this contract and nothing replaces it: a compose hash runs after a vote for it was won
/// and its notice has passed, until a vote against it is won. Its address is the app's id.
/// @dev Looks at the compose hash alone: any device and any TCB status will do. Voting is timed by the token's
/// ERC-6372 clock (blocks or seconds), the notice in seconds; make it longer than a vote, so that holders can
/// still vote an addition out. Only delegated votes count, as with every ERC20Votes token.
contract TokenVoteApp is ERC165, IAppAuth {
    /// @notice Where a proposal stands.
    enum State {
        Pending, // the clock has not passed the snapshot
        Active, // votes are counted
        Defeated, // too few in favour, or not more than against
        Accepted, // won; anybody may execute it
        Superseded, // won, but a later vote on the same compose hash was executed first
        Executed // done
    }

    /// @notice What is voted on. `forVotes` and `againstVotes` are the votes so far; `snapshot` and `deadline`
    /// are times of the token's clock: votes count as of the first, and until the second, inclusive.
    struct Proposal {
        bytes32 composeHash;
        address proposer;
        uint48 snapshot;
        uint48 deadline;
        bool add;
        bool executed;
        uint256 forVotes;
        uint256 againstVotes;
        string noteUri;
    }

    /// @notice A proposal was made.
    event Proposed(
        uint256 indexed id, bytes32 indexed composeHash, address proposer, bool add, string noteUri
    );
    /// @notice A vote was counted.
    event VoteCast(uint256 indexed id, address indexed voter, bool support, uint256 weight);
    /// @notice The compose hash may run from this time on, in seconds since 1970.
    event ComposeHashVotedIn(uint256 indexed id, bytes32 indexed composeHash, uint256 takesEffectAt);
    /// @notice The compose hash gets no more keys.
    event ComposeHashVotedOut(uint256 indexed id, bytes32 indexed composeHash);

    /// @notice The voting period is zero, or the quorum not in 1 … {QUORUM_DENOMINATOR}.
    error InvalidParameters();
    /// @notice No proposal has this id.
    error UnknownProposal(uint256 id);
    /// @notice The caller had fewer votes than {proposalThreshold} one clock tick ago.
    error BelowProposalThreshold(address proposer, uint256 votes, uint256 threshold);
    /// @notice The proposal is in another state than the call needs.
    error WrongState(uint256 id, State current);
    /// @notice The caller voted on this proposal before.
    error AlreadyVoted(uint256 id, address voter);
    /// @notice The caller had no votes at the snapshot.
    error NoVotes(uint256 id, address voter);

    /// @notice {quorumNumerator} is in parts of this.
    uint256 public constant QUORUM_DENOMINATOR = 10_000;

    /// @notice Whose holders vote.
    IERC5805 public immutable token;
    /// @notice Votes one must have to propose.
    uint256 public immutable proposalThreshold;
    /// @notice How long votes are counted, on the token's clock.
    uint32 public immutable votingPeriod;
    /// @notice Part of the total supply that must be in favour.
    uint16 public immutable quorumNumerator;
    /// @notice Seconds from the execution of an accepted addition until it takes effect.
    uint32 public immutable notice;

    /// @notice How many proposals were made; their ids are 1 … this.
    uint256 public proposalCount;
    /// @notice The proposal with this id; all zero if there is none.
    mapping(uint256 id => Proposal) public proposals;
    /// @notice Whether an account voted on a proposal.
    mapping(uint256 id => mapping(address voter => bool)) public hasVoted;
    /// @notice From when a compose hash may run, in seconds since 1970; 0 if it is not voted in.
    mapping(bytes32 composeHash => uint256) public takesEffectAt;
    /// @notice The latest executed proposal on a compose hash; 0 if there is none.
    mapping(bytes32 composeHash => uint256 id) public lastDecision;

    /// @param token_ ERC20Votes token, or another that keeps past votes by a clock of its own.
    /// @param threshold_ Votes one must have to propose; 0 lets everybody.
    /// @param period_ How long votes are counted, on the token's clock; not zero.
    /// @param quorum_ Part of the total supply that must be in favour, in 1/10000; 1 … 10000.
    /// @param notice_ Seconds from execution until an addition takes effect; 0 for none.
    constructor(IERC5805 token_, uint256 threshold_, uint32 period_, uint16 quorum_, uint32 notice_) {
        bool quorumValid = quorum_ != 0 && quorum_ <= QUORUM_DENOMINATOR;
        if (period_ == 0 || !quorumValid) revert InvalidParameters();
        // A token without a clock or a history would lock the app for ever: such a deployment reverts here.
        token_.getPastTotalSupply(token_.clock() - 1);

        token = token_;
        proposalThreshold = threshold_;
        votingPeriod = period_;
        quorumNumerator = quorum_;
        notice = notice_;
    }

    /// @notice Puts a compose hash to the vote. Votes count as they are when the present clock tick ends.
    /// @param composeHash SHA-256 of the exact bytes of app-compose.json.
    /// @param add True to let it run, false to stop it.
    /// @param noteUri Where voters read what it is and why.
    /// @return id The new proposal.
    function propose(bytes32 composeHash, bool add, string calldata noteUri) external returns (uint256 id) {
        uint48 snapshot = token.clock();
        uint256 votes = token.getPastVotes(msg.sender, snapshot - 1);
        if (votes < proposalThreshold) revert BelowProposalThreshold(msg.sender, votes, proposalThreshold);

        id = ++proposalCount;
        uint48 end = snapshot + votingPeriod;
        proposals[id] = Proposal(composeHash, msg.sender, snapshot, end, add, false, 0, 0, noteUri);
        emit Proposed(id, composeHash, msg.sender, add, noteUri);
    }

    /// @notice Casts all votes that the caller had at the snapshot. Final.
    /// @param id The proposal; must be active.
    /// @param support True in favour, false against.
    function castVote(uint256 id, bool support) external {
        State current = state(id);
        if (current != State.Active) revert WrongState(id, current);
        if (hasVoted[id][msg.sender]) revert AlreadyVoted(id, msg.sender);
        Proposal storage proposal = proposals[id];
        uint256 weight = token.getPastVotes(msg.sender, proposal.snapshot);
        if (weight == 0) revert NoVotes(id, msg.sender);

        hasVoted[id][msg.sender] = true;
        if (support) proposal.forVotes += weight;
        else proposal.againstVotes += weight;
        emit VoteCast(id, msg.sender, support, weight);
    }

    /// @notice Carries out an accepted proposal. Anybody may call it. A removal takes effect at once, an
    /// addition after the notice; a compose hash that is voted in again keeps the earlier time.
    /// @param id The proposal; must be accepted.
    function execute(uint256 id) external {
        State current = state(id);
        if (current != State.Accepted) revert WrongState(id, current);
        Proposal storage proposal = proposals[id];
        bytes32 composeHash = proposal.composeHash;
        proposal.executed = true;
        lastDecision[composeHash] = id;
        if (proposal.add) {
            if (takesEffectAt[composeHash] == 0) takesEffectAt[composeHash] = block.timestamp + notice;
            emit ComposeHashVotedIn(id, composeHash, takesEffectAt[composeHash]);
        } else {
            delete takesEffectAt[composeHash];
            emit ComposeHashVotedOut(id, composeHash);
        }
    }

    /// @inheritdoc IAppAuth
    function isAppAllowed(AppBootInfo calldata bootInfo) external view returns (bool, string memory) {
        uint256 start = takesEffectAt[bootInfo.composeHash];
        if (start == 0) {
            bool votedOut = lastDecision[bootInfo.composeHash] != 0;
            return (false, votedOut ? "Compose hash was voted out" : "Compose hash was not voted in");
        }
        // forge-lint: disable-next-line(block-timestamp)
        if (block.timestamp >= start) return (true, "");
        return (false, string.concat("Compose hash takes effect at ", Strings.toString(start)));
    }

    /// @notice Votes in favour that a proposal needs, rounded up. Reverts until its snapshot has passed.
    function quorum(uint256 id) public view returns (uint256) {
        uint256 supply = token.getPastTotalSupply(proposals[id].snapshot);
        return Math.mulDiv(supply, quorumNumerator, QUORUM_DENOMINATOR, Math.Rounding.Ceil);
    }

    /// @notice Where a proposal stands.
    /// @dev Ids follow deadlines, so of two proposals on one compose hash the higher id is the later decision.
    function state(uint256 id) public view returns (State) {
        Proposal storage proposal = proposals[id];
        uint48 now_ = token.clock();
        if (proposal.snapshot == 0) revert UnknownProposal(id);
        if (proposal.executed) return State.Executed;
        if (now_ <= proposal.snapshot) return State.Pending;
        if (now_ <= proposal.deadline) return State.Active;
        if (proposal.forVotes <= proposal.againstVotes || proposal.forVotes < quorum(id)) {
            return State.Defeated;
        }
        return id < lastDecision[proposal.composeHash] ? State.Superseded : State.Accepted;
    }

    /// @inheritdoc ERC165
    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAppAuth).interfaceId || super.supportsInterface(interfaceId);
    }
}
